//! What somebody may have meant.

/// The candidate that is spelt most like a text, if one is spelt like it at all; ties to the first.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let mut best = None;
    for candidate in candidates {
        let likeness = strsim::normalized_damerau_levenshtein(&candidate.to_lowercase(), &text);
        if likeness >= 0.5 && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_likest_name_is_found_whatever_its_case_and_nothing_if_none_is_like_it() {
        let names = ["BUY_DATE", "MSISDN", "PACKAGE_CODE"];
        assert_eq!(nearest("package_cod", names), Some("PACKAGE_CODE"));
        assert_eq!(nearest("msidn", names), Some("MSISDN"));
        assert_eq!(nearest("price", names), None);
        assert_eq!(nearest("a", ["b", "aa", "ab"]), Some("aa"), "ties go to the first");
    }
}
