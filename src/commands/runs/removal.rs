//! `packwise runs gc`.

use crate::commands::render;
use crate::quantities::{format_bytes, format_count};
use crate::runs::removal::Removed;

/// What was removed, or would be.
pub fn text(removed: &Removed, dry: bool) -> String {
    let verb = if dry { "Would remove" } else { "Removed" };
    let Removed { runs, unfinished, evaluations, files, bytes, foreign } = removed;
    let mut text = String::new();
    for (what, ids) in [("run", runs), ("unfinished run", unfinished), ("evaluation", evaluations)] {
        ids.iter().for_each(|id| text.push_str(&format!("{verb} {what} {id}\n")));
    }
    text.push_str(&match (runs.len() + unfinished.len() + evaluations.len(), files) {
        (0, _) => "Nothing to remove\n".to_owned(),
        (_, files) => {
            format!("{verb} {} with {}\n", render::plural(*files, "file"), format_bytes(*bytes))
        }
    });
    if !foreign.is_empty() {
        text.push_str(&format!(
            "{} that packwise did not write stay: {}\n",
            format_count(foreign.len() as u64),
            foreign.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ")
        ));
    }
    text
}
