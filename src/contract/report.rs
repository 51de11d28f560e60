//! Verdicts for machines: JSON, and JUnit XML as schedulers and CI show it.

use super::judge::{Status, Verdict};
use serde_json::{Value, json};

/// Names of the report's files beside a run, and of the last one that was not published in the output folder.
pub const JSON: &str = "contract.json";
pub const JUNIT: &str = "contract.xml";

/// Whether no rule holds the run back.
pub fn is_kept(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|verdict| verdict.status != Status::Failed)
}

/// The report as an object: `contract_kept` and `rules`.
pub fn json(verdicts: &[Verdict]) -> Value {
    json!({"contract_kept": is_kept(verdicts), "rules": verdicts})
}

/// The same, to be written.
pub fn text(verdicts: &[Verdict]) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(&json(verdicts)).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The report as a test suite: a case for each rule; a warning is a passed case with output.
pub fn junit(verdicts: &[Verdict]) -> String {
    let count = |status: Status| verdicts.iter().filter(|verdict| verdict.status == status).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"packwise.contract\" tests=\"{}\" \
         failures=\"{}\" errors=\"0\" skipped=\"{}\">\n",
        verdicts.len(),
        count(Status::Failed),
        count(Status::NotJudged)
    );
    for verdict in verdicts {
        let (name, said) = (escaped(&verdict.rule), escaped(&verdict.text));
        let inner = match verdict.status {
            Status::Failed => format!("<failure message=\"{said}\"/>"),
            Status::NotJudged => format!("<skipped message=\"{said}\"/>"),
            Status::Warned => format!("<system-out>warning: {said}</system-out>"),
            Status::Kept | Status::Quarantined => format!("<system-out>{said}</system-out>"),
        };
        text.push_str(&format!(
            "  <testcase classname=\"packwise.contract\" name=\"{name}\">{inner}</testcase>\n"
        ));
    }
    text + "</testsuite>\n"
}

/// Text in XML; characters that XML cannot hold are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{fffe}' | '\u{ffff}' => {}
            other if other.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(rule: &str, status: Status, text: &str) -> Verdict {
        Verdict { rule: rule.to_owned(), status, found: None, text: text.to_owned() }
    }

    #[test]
    fn a_rule_is_a_case_and_odd_text_is_escaped() {
        let verdicts = [
            verdict("a", Status::Kept, "fine"),
            verdict("b", Status::Failed, "most of them \"<&>\u{1}\""),
            verdict("c", Status::NotJudged, "nothing"),
            verdict("d", Status::Warned, "hm"),
        ];
        let text = junit(&verdicts);
        assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{text}");
        assert!(text.contains("<failure message=\"most of them &quot;&lt;&amp;&gt;&quot;\"/>"), "{text}");
        assert_eq!(text.matches("<testcase ").count(), 4);
        assert!(!is_kept(&verdicts) && is_kept(&verdicts[..1]));
        assert_eq!(json(&verdicts)["rules"][1]["status"], "failed");
    }
}
