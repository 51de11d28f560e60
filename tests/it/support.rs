//! What the tests share: a made-up shop in a folder of its own, and the real binary.

pub use crate::made_up::*;
pub use crate::rows::*;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use assert_cmd::Command;
use packwise::runs::manifest::Manifest;
use parquet::arrow::ArrowWriter;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use tempfile::TempDir;

/// A batch with one column replaced by another of the same name.
pub fn replace(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, old)| {
        (field.name(), if field.name() == name { column.clone() } else { old.clone() }, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

pub fn write_parquet(path: &Path, batch: &RecordBatch) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// A folder with input, configuration and output, in which the binary is started.
pub struct Shop {
    folder: TempDir,
}

/// The sections of `packwise.toml` after the input's.
pub const COMMON: &str = r#"
[output]
path = "out"

[resources]
memory = "512MiB"
threads = 2
scratch = "scratch"

[segments]
sweep_to = 7
"#;

impl Shop {
    /// An empty shop: `packwise.toml` reads `dumps`, and writes to `out`.
    pub fn new() -> Self {
        let shop = Self { folder: TempDir::new().unwrap() };
        shop.configure("");
        shop
    }

    /// A shop with `customers` customers in one Parquet file, without a catalogue.
    pub fn open(customers: u32) -> Self {
        let shop = Self::new();
        write_parquet(&shop.path("dumps/all.parquet"), &batch(&purchases(customers, 1), Ids::Integer));
        shop
    }

    /// Writes `packwise.toml` with more sections after the common ones.
    pub fn configure(&self, more: &str) {
        let transactions = r#"[transactions]
path = "dumps"
columns = { customer = "MSISDN", package = "PACKAGE_CODE", time = "BUY_DATE", channel = "CHANNEL", amount = "AMOUNT", quantity = "QUANTITY" }
"#;
        self.write("packwise.toml", format!("{transactions}{COMMON}{more}"));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes a catalogue, given as CSV, to `packages.parquet` as columns of text; an empty cell is null.
    pub fn stock(&self, catalogue: &str) {
        let (head, rows) = catalogue.split_once('\n').unwrap_or((catalogue, ""));
        let cells: Vec<Vec<&str>> = rows.lines().map(|row| row.split(',').collect()).collect();
        let columns = head.split(',').enumerate().map(|(at, name)| {
            (
                name,
                Arc::new(
                    cells.iter().map(|row| (!row[at].is_empty()).then_some(row[at])).collect::<StringArray>(),
                ) as ArrayRef,
                true,
            )
        });
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        write_parquet(&self.path("packages.parquet"), &batch);
    }

    /// The binary in this folder, ready to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packwise"));
        command.current_dir(self.folder.path()).env("NO_COLOR", "1").args(arguments);
        command
    }

    pub fn packwise(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.packwise(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `packwise run` with `--set` for every setting; the manifest of what it published.
    pub fn run(&self, settings: &[&str]) -> Manifest {
        let mut arguments = vec!["run", "-c", "packwise.toml", "--json"];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        let said: serde_json::Value = serde_json::from_str(&self.ok(&arguments)).unwrap();
        let output =
            settings.iter().find_map(|setting| setting.strip_prefix("output.path=")).unwrap_or("out");
        self.manifest(output, said["run_id"].as_str().unwrap())
    }

    /// The manifest of a run in an output folder.
    pub fn manifest(&self, output: &str, id: &str) -> Manifest {
        let path = self.path(output).join("runs").join(id).join("manifest.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// Ids of the published runs, as the program lists them.
    pub fn runs(&self) -> Vec<String> {
        let listed = self.ok(&["runs", "-c", "packwise.toml", "--json", "list"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        listed.as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
    }

    /// A table of a run in `out`.
    pub fn table(&self, run: &Manifest, name: &str) -> RecordBatch {
        self.table_in("out", run, name)
    }

    /// A table of a run, its parts in order.
    pub fn table_in(&self, output: &str, run: &Manifest, name: &str) -> RecordBatch {
        let folder = self.path(output).join("runs").join(&run.run_id);
        let files = &run.tables[name].files;
        if files.is_empty() {
            let contract = packwise::tables::ALL.iter().find(|table| table.name == name).unwrap();
            return RecordBatch::new_empty(contract.schema(packwise::tables::CustomerType::Text));
        }
        let parts: Vec<RecordBatch> =
            files.iter().flat_map(|file| read_parquet(&folder.join(&file.path))).collect();
        let schema = read_schema(&folder.join(&files[0].path));
        concat_batches(&schema, &parts).unwrap()
    }
}

/// A shop with a catalogue and `customers` customers in one Parquet file.
pub fn shop(ids: Ids, customers: u32) -> Shop {
    let shop = Shop::new();
    shop.configure(CATALOGUE);
    shop.stock(&catalogue());
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&purchases(customers, 4), ids));
    shop
}
