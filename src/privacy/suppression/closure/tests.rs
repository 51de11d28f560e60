use super::*;
use proptest::prelude::*;

/// Which of some groups with one total are hidden at k = 10.
fn of(counts: &[u64]) -> Vec<bool> {
    let mut groups = Counts::default();
    let all = counts.iter().map(|count| groups.add(*count)).collect();
    groups.total(all);
    groups.hidden(10)
}

#[test]
fn small_groups_go_with_the_next_smallest() {
    assert_eq!(of(&[100, 50, 10]), [false, false, false]);
    assert_eq!(of(&[100, 3, 50]), [false, true, true], "one alone would be the rest");
    assert_eq!(of(&[100, 3, 4, 50]), [false, true, true, true], "3 and 4 are 7 together");
    assert_eq!(of(&[100, 6, 5, 50]), [false, true, true, false]);
    assert_eq!(of(&[100, 0, 50]), [false, false, false], "nobody is in an empty group");
    assert_eq!(of(&[3]), [true], "a single group has no other to hide with");
}

#[test]
fn both_ways_of_a_table_of_moves_are_covered() {
    // from A and B to A and B
    let mut moves = Counts::default();
    let cells = [40, 3, 30, 50].map(|count| moves.add(count));
    for line in [[0, 1], [2, 3], [0, 2], [1, 3]] {
        moves.total(line.map(|cell: usize| cells[cell]).to_vec());
    }
    assert_eq!(moves.hidden(10), [true; 4]);
}

#[test]
fn several_lines_together_do_not_give_away_a_group() {
    // Two hidden in each row and column but the small one follows: rows 1 and 2 less columns 1 and 2 leave it alone.
    //   a b .
    //   c d x      x is small, and so is what lies below it
    //   . . y
    let counts = [20, 21, 90, 22, 23, 4, 91, 92, 30];
    let mut table = Counts::default();
    let cells = counts.map(|count| table.add(count));
    for line in 0..3 {
        table.total((0..3).map(|at| cells[line * 3 + at]).collect());
        table.total((0..3).map(|at| cells[at * 3 + line]).collect());
    }
    let hidden = table.clone().hidden(10);
    assert!(hidden[5]);
    for (cell, is_hidden) in table.cells.iter_mut().zip(&hidden) {
        cell.status = if *is_hidden { Status::Hidden } else { Status::Shown };
    }
    assert!(!can_be_worked_out(&table, 5), "{hidden:?}");
}

#[test]
fn what_other_reports_say_of_the_same_customers_counts() {
    // Segments: Lost (4) and Rare (30) are recency 1, Good (50) and Best (20) recency 2.
    let mut reports = Counts::default();
    let segments = [4, 30, 50, 20].map(|count| reports.add(count));
    let scores = [34, 70].map(|count| reports.add(count));
    reports.total(segments.to_vec());
    reports.total(scores.to_vec());
    let unlinked = reports.clone().hidden(10);
    assert_eq!(unlinked, [true, false, false, true, false, false], "by its own total alone");
    reports.same(segments[..2].to_vec(), vec![scores[0]]);
    reports.same(segments[2..].to_vec(), vec![scores[1]]);
    // Recency 1 less Rare would be Lost.
    let linked = reports.hidden(10);
    assert!(linked[0] && (linked[1] || (linked[4] && linked[5])), "{linked:?}");
}

#[test]
fn a_group_that_is_not_published_is_not_given_away_either() {
    // The run before left out its segments of 24 and 4 customers. If all of the 24 are seen to stay, the 4 are told of.
    let mut moves = Counts::default();
    let before = [24, 4].map(|customers| moves.unpublished(customers));
    let ways = [24, 4].map(|count| moves.add(count));
    moves.same(vec![ways[0]], vec![before[0]]);
    moves.same(vec![ways[1]], vec![before[1]]);
    assert_eq!(moves.clone().hidden(10), [false, false, false, true]);
    moves.total(before.to_vec());
    assert_eq!(moves.hidden(10), [false, false, true, true]);
}

/// Whether a count is a combination of ties and shown counts: by elimination with fractions, another way than the
/// module's.
fn can_be_worked_out(counts: &Counts, cell: usize) -> bool {
    let unknown: Vec<usize> = (0..counts.cells.len()).filter(|cell| counts.is_unknown(*cell)).collect();
    let mut rows: Vec<Vec<f64>> = counts
        .ties
        .iter()
        .map(|tie| {
            let of = |unknown: &usize| {
                f64::from(u8::from(tie.plus.contains(unknown)))
                    - f64::from(u8::from(tie.minus.contains(unknown)))
            };
            unknown.iter().map(of).collect()
        })
        .collect();
    let rank = |rows: &mut Vec<Vec<f64>>| {
        let mut rank = 0;
        for column in 0..unknown.len() {
            let Some(pivot) = (rank..rows.len()).find(|row| rows[*row][column].abs() > 1e-9) else {
                continue;
            };
            rows.swap(rank, pivot);
            let (done, rest) = rows.split_at_mut(rank + 1);
            for row in rest {
                let factor = row[column] / done[rank][column];
                row.iter_mut().zip(&done[rank]).for_each(|(value, pivot)| *value -= factor * pivot);
            }
            rank += 1;
        }
        rank
    };
    let before = rank(&mut rows.clone());
    rows.push(unknown.iter().map(|at| f64::from(u8::from(*at == cell))).collect());
    unknown.contains(&cell) && rank(&mut rows) == before
}

proptest! {
    /// In a table with totals both ways, and a total of each row that may be left out as well: no small count is shown,
    /// none follows from all that is shown, and every hidden line holds k customers unless it has nothing more to hide.
    #[test]
    fn no_small_group_can_be_worked_out(
        counts in prop::collection::vec(prop_oneof![Just(0u64), 1u64..12, 1u64..60], 2..40),
        width in 2usize..7, totals_too in any::<bool>(), k in 2u64..15,
    ) {
        let mut table = Counts::default();
        let cells: Vec<usize> = counts.iter().map(|count| table.add(*count)).collect();
        let mut totals = Vec::new();
        for row in cells.chunks(width) {
            if totals_too {
                let total = table.add(row.iter().map(|cell| counts[*cell]).sum());
                table.same(row.to_vec(), vec![total]);
                totals.push(total);
            } else {
                table.total(row.to_vec());
            }
        }
        for column in 0..width.min(cells.len()) {
            table.total(cells.iter().copied().skip(column).step_by(width).collect());
        }
        if totals_too {
            table.total(totals);
        }
        let hidden = table.clone().hidden(k);
        for (cell, is_hidden) in hidden.iter().enumerate() {
            let customers = table.cells[cell].customers;
            prop_assert!(*is_hidden || !(1..k).contains(&customers));
            prop_assert!(!is_hidden || customers > 0);
            table.cells[cell].status = if *is_hidden { Status::Hidden } else { Status::Shown };
        }
        for tie in &table.ties {
            let out: Vec<u64> = tie.plus.iter().filter(|cell| hidden[**cell]).map(|cell| table.cells[*cell].customers).collect();
            let others = tie.plus.iter().chain(&tie.minus).any(|cell| !hidden[*cell] && table.cells[*cell].customers > 0);
            let told = !out.is_empty() && tie.minus.iter().all(|cell| !hidden[*cell]);
            prop_assert!(!told || out.iter().sum::<u64>() >= k || !others, "{:?} of {:?}", out, tie);
        }
        // A group that is alone in its lines follows even when all others are hidden.
        let mut all_hidden = table.clone();
        all_hidden.cells.iter_mut().for_each(|cell| cell.status = Status::Hidden);
        for cell in (0..hidden.len()).filter(|cell| (1..k).contains(&table.cells[*cell].customers)) {
            let given_away = can_be_worked_out(&table, cell);
            prop_assert!(!given_away || can_be_worked_out(&all_hidden, cell), "{cell}: {hidden:?}");
        }
    }
}
