//! `packwise query`.

use super::{logs, prepare, print};
use crate::cli::{Format, QueryArgs};
use crate::error::Error;
use crate::published::PublishedRun;
use crate::runs::Output;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use futures::StreamExt;
use std::io::{BufWriter, IsTerminal, Write};
use std::time::Duration;

pub fn run(args: &QueryArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(&args.config, json)?;
    let output = Output::open(&config.output, engine.runtime.handle())?;
    let run = PublishedRun::open(&output, args.run.as_deref(), engine.memory.usable())?;
    let format = if json { Format::Json } else { args.format };
    if format == Format::Parquet && std::io::stdout().is_terminal() {
        return Err(Error::Io {
            action: "write Parquet to a terminal; redirect it to a file".into(),
            source: std::io::ErrorKind::InvalidInput.into(),
        });
    }
    let limit = Duration::from_secs(args.timeout);
    let rows = answer(&run, &args.sql, format, args.max_rows.unwrap_or(usize::MAX));
    let is_cut = engine
        .runtime
        .block_on(async { tokio::time::timeout(limit, rows).await })
        .unwrap_or_else(|_| Err(Error::QueryTimeout { seconds: args.timeout }))?;
    if is_cut {
        logs::warning(&format!("there are more rows than --max-rows {}", args.max_rows.unwrap_or_default()));
    }
    Ok(0)
}

/// Writes the rows of a query, so many at the most; whether there were more.
async fn answer(run: &PublishedRun, sql: &str, format: Format, most: usize) -> Result<bool, Error> {
    run.register_all().await?;
    let mut stream = run.query(sql).await?;
    let mut sink = Sink::new(format, &stream.schema())?;
    let mut left = most;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|source| Error::Query(Box::new(source)))?;
        if batch.num_rows() > left {
            sink.write(batch.slice(0, left))?;
            sink.finish()?;
            return Ok(true);
        }
        left -= batch.num_rows();
        sink.write(batch)?;
    }
    sink.finish()?;
    Ok(false)
}

type Out = BufWriter<Quiet>;

/// Standard output that takes a reader's leaving as the end: the rest is thrown away.
struct Quiet {
    stdout: std::io::Stdout,
    left: bool,
}

impl Write for Quiet {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        if self.left {
            return Ok(buffer.len());
        }
        match self.stdout.write(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.left = true;
                Ok(buffer.len())
            }
            result => result,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self.stdout.flush() {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}

/// Rows to standard output in one of the formats; all but the table are streamed.
enum Sink {
    Table(arrow::datatypes::SchemaRef, Vec<RecordBatch>),
    Csv(Box<arrow::csv::Writer<Out>>),
    Json(arrow::json::ArrayWriter<Out>),
    Parquet(Box<parquet::arrow::ArrowWriter<Out>>),
}

impl Sink {
    fn new(format: Format, schema: &arrow::datatypes::SchemaRef) -> Result<Self, Error> {
        let out = BufWriter::new(Quiet { stdout: std::io::stdout(), left: false });
        Ok(match format {
            Format::Table => Self::Table(schema.clone(), Vec::new()),
            Format::Csv => Self::Csv(Box::new(arrow::csv::WriterBuilder::new().with_header(true).build(out))),
            Format::Json => Self::Json(arrow::json::ArrayWriter::new(out)),
            Format::Parquet => Self::Parquet(Box::new(
                parquet::arrow::ArrowWriter::try_new(out, schema.clone(), None)
                    .map_err(|error| arrow_failed(error.into()))?,
            )),
        })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<(), Error> {
        match self {
            Self::Table(_, batches) => batches.push(batch),
            Self::Csv(writer) => writer.write(&batch).map_err(arrow_failed)?,
            Self::Json(writer) => writer.write(&batch).map_err(arrow_failed)?,
            Self::Parquet(writer) => writer.write(&batch).map_err(|error| arrow_failed(error.into()))?,
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        let flushed = |mut out: Out| {
            out.flush().map_err(|source| Error::Io { action: "write to standard output".into(), source })
        };
        match self {
            Self::Table(schema, batches) => {
                let batches = if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
                let text = arrow::util::pretty::pretty_format_batches(&batches).map_err(arrow_failed)?;
                print(format!("{text}\n").as_bytes())
            }
            Self::Csv(writer) => flushed(writer.into_inner()),
            Self::Json(mut writer) => {
                writer.finish().map_err(arrow_failed)?;
                let mut out = writer.into_inner();
                let _ = out.write_all(b"\n");
                flushed(out)
            }
            Self::Parquet(writer) => {
                flushed(writer.into_inner().map_err(|error| arrow_failed(error.into()))?)
            }
        }
    }
}

fn arrow_failed(source: ArrowError) -> Error {
    Error::Arrow { action: "write the rows", source }
}
