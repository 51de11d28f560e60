use super::*;

fn role(i: usize) -> Role {
    match i {
        0 => Role::Packwise,
        1 => Role::Variant,
        _ => Role::Other,
    }
}

fn lines(count: usize) -> Vec<MethodLine> {
    let recalls =
        |i: usize| [20, 1, 10, 5, 3].map(|k| (k, 0.3 / (i + 2) as f64 * (k as f64).powf(0.4))).to_vec();
    let line = |i| MethodLine { name: format!("method <{i}>"), role: role(i), recalls: recalls(i) };
    (0..count).map(line).collect()
}

fn points(count: usize) -> Vec<MethodPoint> {
    let point = |i: usize| MethodPoint {
        name: format!("method <{i}>"),
        role: role(i),
        recall: 0.26 - 0.001 * i as f64,
        revenue: 0.24 - 0.002 * (i % 4) as f64,
    };
    (0..count).map(point).collect()
}

fn curve() -> Vec<CurvePoint> {
    let point = |gamma: f64| CurvePoint { gamma, recall: 0.26 - 0.01 * gamma, revenue: 0.24 + 0.02 * gamma };
    [0.0, 1.0, 0.25, 0.5].map(point).to_vec()
}

/// Where texts with that start were written.
fn places(svg: &str, start: &str) -> Vec<(i32, i32)> {
    let number = |tag: &str, name: &str| {
        let from = tag.find(name).unwrap() + name.len();
        tag[from..].split('"').next().unwrap().parse::<i32>().unwrap()
    };
    let texts = svg.split("<text ").skip(1).filter_map(|piece| piece.split_once(">\n"));
    let wanted = texts.filter(|(_, text)| text.starts_with(start));
    wanted.map(|(tag, _)| (number(tag, "x=\""), number(tag, " y=\""))).collect()
}

#[test]
fn recall_names_the_methods_their_values_and_the_finding() {
    let svg = recall_by_k(&lines(3));
    for text in [
        "How much of what customers bought is on their list",
        "Most in lists of 20: method &lt;0&gt; 49.7 %; method &lt;1&gt; 33.1 %",
        "\n0.497\n",
        "\n0.249\n",
        "\nk = 20\n",
        "\n10\n",
    ] {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    // Strong dots have a rim, and the strong line is four copies.
    assert_eq!(svg.matches("<circle").count(), 5 * 2 + 2 * 5);
    assert_eq!(svg.matches("#3F6FA3\" stroke-width=\"2\"").count(), 4, "{svg}");
    let mut behind = lines(3);
    behind[2].recalls = vec![(20, 0.9)];
    let found = "Most in lists of 20: method &lt;2&gt; 90.0 %; method &lt;0&gt; 49.7 %";
    assert!(recall_by_k(&behind).contains(found));
}

#[test]
fn names_beside_the_lines_keep_their_distance_and_the_page_grows() {
    for count in [13, 40] {
        let svg = recall_by_k(&lines(count));
        let mut names = places(&svg, "method &lt;");
        assert_eq!(names.len(), count);
        names.sort_by_key(|&(_, y)| y);
        assert!(names.windows(2).all(|pair| pair[1].1 - pair[0].1 >= GAP), "{names:?}");
        let bottom = TOP + (count as i32 * GAP).max(370);
        assert!(names.iter().all(|&(x, y)| x == NAMES && (TOP - 1..=bottom).contains(&y)), "{names:?}");
        assert!(svg.starts_with(&format!("<svg width=\"{WIDTH}\" height=\"{}\"", bottom + 68)));
    }
    assert_eq!(spread(vec![10, 12, 90, 300], 200), [10, 27, 90, 200]);
    assert_eq!(spread(vec![100, 190, 195], 200), [100, 183, 200]);
}

#[test]
fn labels_of_crowded_dots_do_not_overlap() {
    let dot = |i: usize| {
        let at = (500 + (i as i32 * 7) % 40, 300 + (i as i32 * 11) % 30);
        let (color, look) = role(i).look();
        Dot { at, radius: 4, color, text: format!("method number {i}"), look, role: role(i), rings: 30 }
    };
    let dots = (0..16).map(dot).collect::<Vec<_>>();
    let mut taken = dots.iter().map(|dot| Area::around(dot.at, 5)).collect();
    let labels = dots.iter().filter_map(|dot| label(dot, &mut taken)).collect::<Vec<_>>();
    assert_eq!(labels.len(), 16);
    for (i, one) in labels.iter().enumerate() {
        assert!(dots.iter().all(|dot| !one.paper.meets(&Area::around(dot.at, 5))), "{}", one.text);
        for other in &labels[..i] {
            assert!(!one.paper.meets(&other.paper), "{} {}", one.text, other.text);
        }
    }
    // The first ones, which have the choice, have leaders that meet no other text.
    for one in &labels[..4] {
        let path = one.leader.map_or(Vec::new(), |[from, to]| points_between(from, to));
        let crossed = labels
            .iter()
            .filter(|other| other.at != one.at)
            .find(|other| path.iter().any(|point| point.meets(&other.paper)));
        assert_eq!(crossed.map(|other| other.text), None, "{}", one.text);
    }
    // Outside the plot there is no room.
    let outside = Dot { at: (-500, -500), ..dot(1) };
    assert!(label(&outside, &mut taken).is_none());
}

#[test]
fn accuracy_and_revenue_name_methods_strengths_and_axes() {
    let svg = accuracy_revenue(10, &points(6), &curve());
    for text in [
        "Finding what customers buy and finding what they spend",
        "packwise re-ranked by price, γ 0 to γ 1: revenue recall 24.0 % to 26.0 %, recall 26.0 % to 25.0 %",
        "Revenue recall@10",
        "Recall@10",
        "\nγ 0\n",
        "\nγ 0.25\n",
        "\nγ 1\n",
    ] {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    assert_eq!(places(&svg, "method &lt;").len(), 6);
    // Six methods and four strengths, each with its rim.
    assert_eq!(svg.matches("<circle").count(), 2 * 10);
    let alone = accuracy_revenue(10, &points(1), &[]);
    assert!(alone.contains("method &lt;0&gt;: recall 26.0 %, revenue recall 24.0 %"), "{alone}");
}

#[test]
fn the_same_input_in_any_order_gives_the_same_bytes() {
    let (mut methods, mut strengths) = (points(9), curve());
    let svg = accuracy_revenue(10, &methods, &strengths);
    methods.reverse();
    strengths.reverse();
    assert_eq!(accuracy_revenue(10, &methods, &strengths), svg);
    let mut turned = lines(4);
    turned.iter_mut().for_each(|line| line.recalls.reverse());
    assert_eq!(recall_by_k(&turned), recall_by_k(&lines(4)));
}

#[test]
fn nothing_one_value_and_missing_numbers_still_make_a_page() {
    assert!(recall_by_k(&[]).contains("no method was measured"));
    assert!(accuracy_revenue(10, &[], &[]).contains("no method was measured"));
    let mut holes = lines(3);
    holes[0].recalls = vec![(0, 0.5), (3, f64::NAN), (10, 0.2)];
    holes[1].recalls = vec![(5, f64::INFINITY)];
    holes[2].name = "two\u{0}\u{1b}".to_owned();
    let mut gaps = points(4);
    gaps[0].recall = f64::NAN;
    gaps[1].revenue = f64::NEG_INFINITY;
    let mut strengths = curve();
    strengths[1].gamma = f64::NAN;
    let one = vec![MethodLine { name: "one".to_owned(), role: Role::Other, recalls: vec![(10, 0.0)] }];
    for svg in [
        recall_by_k(&holes),
        recall_by_k(&one),
        accuracy_revenue(10, &gaps, &strengths),
        accuracy_revenue(10, &points(1), &curve()[..1]),
    ] {
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(!svg.chars().any(|c| c.is_control() && c != '\n'), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    }
    // packwise ends before the last k: its name is there, its value is not.
    assert!(recall_by_k(&holes).contains("n/a") && !recall_by_k(&holes).contains("method &lt;1&gt;"));
}
