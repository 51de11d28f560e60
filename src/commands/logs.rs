//! The log on standard error: lines for people, or one JSON object a line. A failure is said once: as a line of
//! the log where the log is JSON, else as text.

use super::render;
use crate::cli::{Cli, LogFormat};
use crate::engine::current;
use crate::error::{Error, chain};
use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value};
use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Failures and warnings go to a JSON log.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// Starts the log that the command line asks for. JSON is written from the level `info` on even without `-v`:
/// who asks for it collects it.
pub fn start(cli: &Cli) {
    let is_json = cli.log_format == LogFormat::Json;
    AS_JSON.store(is_json, Ordering::Relaxed);
    let level = match (cli.verbose, is_json) {
        (0, false) => return,
        (0 | 1, _) => "packwise=info",
        _ => "packwise=debug",
    };
    let colour = !is_json && std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A second call in one process (tests) finds a subscriber set already, which is fine.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .event_format(Lines { is_json, plain: Format::default() })
        .try_init();
}

/// Says why a command failed.
pub fn failure(error: &Error, json: bool) {
    if !AS_JSON.load(Ordering::Relaxed) {
        eprint!("{}", render::failure(error, json));
        return;
    }
    let causes = chain(error).split_off(1).join("; ");
    let hint = error.hint().unwrap_or_default();
    tracing::error!(causes, hint, exit_code = u64::from(error.exit_code()), "{error}");
}

/// Says what went wrong beside a command's work, which goes on.
pub fn warning(text: &str) {
    match AS_JSON.load(Ordering::Relaxed) {
        true => tracing::warn!("{text}"),
        false => eprintln!("warning: {text}"),
    }
}

/// One line an event, with the id of the run once there is one.
struct Lines {
    is_json: bool,
    plain: Format,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let run = current::run();
        if self.is_json {
            let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
            return writeln!(writer, "{}", object(event, &time, run));
        }
        if let Some(run) = run {
            write!(writer, "{run} ")?;
        }
        self.plain.format_event(context, writer, event)
    }
}

/// An event as an object: time, level, run, module, then its own fields.
fn object(event: &Event<'_>, time: &str, run: Option<String>) -> Value {
    let mut fields = Fields(Map::new());
    fields.0.insert("time".to_owned(), time.into());
    fields.0.insert("level".to_owned(), event.metadata().level().as_str().into());
    if let Some(run) = run {
        fields.0.insert("run_id".to_owned(), run.into());
    }
    fields.0.insert("module".to_owned(), event.metadata().target().into());
    event.record(&mut fields);
    Value::Object(fields.0)
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}
