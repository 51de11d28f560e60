//! Contact history: which customer was contacted with which package, and when.

use super::PolicyError;
use super::file::ContactSettings;
use super::lists::{PackageCodes, texts};
use crate::config::resolve::{FileFormat, OnBadFile, Returns, TransactionColumns, Transactions};
use crate::engine::location::LocationError;
use crate::numerics::random::hash_bytes;
use crate::privacy::Ids;
use crate::transactions::InputError;
use crate::transactions::source::{Batch, Plan, Role};
use crate::transactions::times;
use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::DataType;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Keeps the hashes of ids apart from other uses of the hash function.
const SEED: u64 = 0x636f_6e74_6163_7473;
/// A package that the run does not know: it counts as a contact, but no cooldown names it.
const UNKNOWN: u32 = u32::MAX;
/// Bytes of a contact while the list grows: the list and its next, half as large again.
const BYTES_WHILE_READ: u64 = 40;
/// Contacts that one step of the directory leads to.
const PER_STEP: usize = 8;

/// One contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Contact {
    customer: u64,
    /// Since 1970.
    day: i32,
    package: u32,
}

/// What was read, for the summary of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContactFigures {
    pub rows: u64,
    /// Contacts within the days that rules look back.
    pub kept: u64,
    pub older: u64,
    /// After the day that offers are for.
    pub later: u64,
    /// Without a customer, a package or a readable time.
    pub unusable: u64,
    /// Kept, with a package that the run does not know.
    pub unknown_packages: u64,
}

/// The contacts of the last days, sorted by customer. Memory: 17 bytes a contact.
#[derive(Debug, Clone, Default)]
pub struct ContactHistory {
    contacts: Vec<Contact>,
    /// Where the customers with each value of the hash's first bits start.
    directory: Vec<usize>,
    shift: u32,
    pub figures: ContactFigures,
}

/// A customer's id as contacts know it: integer ids by their decimal text.
pub(super) fn customer_hash(id: &str) -> u64 {
    hash_bytes(id.as_bytes(), SEED)
}

impl ContactHistory {
    /// No contacts.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the contacts from `days` days before the day that offers are for (the day after
    /// `as_of_day`, in days since 1970) to that day. `budget` bounds the bytes it takes while it is
    /// read, 40 a contact; a file with more is an error that tells how much it needs.
    pub fn read(
        settings: &ContactSettings,
        ids: Arc<Ids>,
        days: u32,
        as_of_day: i64,
        packages: &PackageCodes,
        runtime: &Handle,
        budget: u64,
    ) -> Result<Self, PolicyError> {
        let failed = |error| PolicyError::Contacts(Box::new(own_words(error)));
        let plan = Plan::open(&as_transactions(settings), ids, runtime).map_err(failed)?;
        let mut history = Self::default();
        let offer_day = as_of_day + 1;
        let pass = plan.pass(1, budget / 16, runtime);
        for unit in 0..plan.units.len() {
            for batch in pass.read(unit).map_err(failed)? {
                history.add(&batch.map_err(failed)?, offer_day, days, packages, budget)?;
            }
        }
        let figures = history.figures;
        let needed = figures.kept * BYTES_WHILE_READ;
        if needed > budget {
            let path = settings.path.clone();
            return Err(PolicyError::ContactsTooLarge { path, contacts: figures.kept, days, needed, budget });
        }
        if figures.rows > 0 && figures.unusable == figures.rows {
            return Err(PolicyError::NoContacts { path: settings.path.clone(), rows: figures.rows });
        }
        history.finish();
        Ok(history)
    }

    /// From pairs of customer id, package number and day since 1970.
    #[cfg(test)]
    pub(super) fn from_rows(rows: &[(&str, u32, i32)]) -> Self {
        let mut history = Self::default();
        for (id, package, day) in rows {
            history.contacts.push(Contact { customer: customer_hash(id), day: *day, package: *package });
        }
        history.finish();
        history
    }

    pub fn len(&self) -> usize {
        self.contacts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty()
    }

    fn add(
        &mut self,
        batch: &Batch,
        offer_day: i64,
        days: u32,
        packages: &PackageCodes,
        budget: u64,
    ) -> Result<(), PolicyError> {
        let column =
            |role| batch.column(role).ok_or_else(|| PolicyError::Contacts(Box::new(InputError::LostColumn)));
        let (customers, codes) = (texts(column(Role::Customer)?)?, texts(column(Role::Package)?)?);
        let times = Times::new(column(Role::Time)?)?;
        let first = offer_day - i64::from(days);
        for row in 0..batch.rows {
            self.figures.rows += 1;
            let (Some(customer), Some(code), Some(day)) =
                (cell(&customers, row), cell(&codes, row), times.day(row))
            else {
                self.figures.unusable += 1;
                continue;
            };
            if day < first {
                self.figures.older += 1;
                continue;
            }
            if day > offer_day {
                self.figures.later += 1;
                continue;
            }
            self.figures.kept += 1;
            let package = packages.number(code).unwrap_or(UNKNOWN);
            self.figures.unknown_packages += u64::from(package == UNKNOWN);
            // Beyond the budget rows are only counted, so that the error can tell how much is needed.
            if self.figures.kept * BYTES_WHILE_READ > budget {
                self.contacts = Vec::new();
                continue;
            }
            if self.contacts.len() == self.contacts.capacity() {
                self.contacts.reserve_exact((self.contacts.len() / 2).max(1 << 12));
            }
            self.contacts.push(Contact { customer: customer_hash(customer), day: day as i32, package });
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.contacts.sort_unstable();
        self.contacts.shrink_to_fit();
        let bits = (self.contacts.len() / PER_STEP).max(1).ilog2().max(1);
        self.shift = 64 - bits;
        let mut directory = vec![0; (1 << bits) + 1];
        for contact in &self.contacts {
            directory[(contact.customer >> self.shift) as usize + 1] += 1;
        }
        for at in 1..directory.len() {
            directory[at] += directory[at - 1];
        }
        self.directory = directory;
    }

    /// The contacts of a customer by their days, oldest first: (day, package).
    pub(super) fn of(&self, customer: u64) -> impl ExactSizeIterator<Item = (i32, u32)> + '_ {
        let step = if self.contacts.is_empty() { 0 } else { (customer >> self.shift) as usize };
        let place = |at: usize| self.directory.get(at).copied().unwrap_or(0);
        let near = self.contacts.get(place(step)..place(step + 1)).unwrap_or_default();
        let start = near.partition_point(|contact| contact.customer < customer);
        let end = near.partition_point(|contact| contact.customer <= customer);
        near[start..end].iter().map(|contact| (contact.day, contact.package))
    }
}

/// The text of a row without spaces around it; None if there is none.
fn cell(texts: &StringArray, row: usize) -> Option<&str> {
    let text = texts.is_valid(row).then(|| texts.value(row).trim())?;
    (!text.is_empty()).then_some(text)
}

/// Times of a batch, text or typed.
enum Times {
    Text(StringArray),
    Typed(ArrayRef),
}

impl Times {
    fn new(column: &ArrayRef) -> Result<Self, PolicyError> {
        Ok(match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text(texts(column)?),
            _ => Self::Typed(column.clone()),
        })
    }

    /// Since 1970.
    fn day(&self, row: usize) -> Option<i64> {
        let seconds = match self {
            Self::Text(texts) => times::parse(cell(texts, row)?)?,
            Self::Typed(array) if array.is_valid(row) => times::seconds(array.as_ref(), row)?,
            Self::Typed(_) => return None,
        };
        Some(seconds.div_euclid(times::DAY))
    }
}

/// Contacts have the form of transactions without amounts, and are read by the same reader.
fn as_transactions(settings: &ContactSettings) -> Transactions {
    Transactions {
        path: settings.path.clone(),
        format: FileFormat::Auto,
        delimiter: b',',
        columns: TransactionColumns {
            customer: settings.customer.clone(),
            package: settings.package.clone(),
            time: settings.time.clone(),
            channel: None,
            amount: None,
            quantity: None,
            transaction: None,
        },
        amount_is_unit: false,
        returns: Returns::Net,
        drop_duplicates: false,
        as_of: None,
        max_amount: f64::MAX,
        on_bad_file: OnBadFile::Fail,
    }
}

/// The reader speaks of transactions; this file is another.
fn own_words(error: InputError) -> InputError {
    const WHAT: &str = "contact history";
    match error {
        InputError::MissingColumn { path, column, key, columns, nearest } => {
            let key = key.replace("transactions.", "contact_history.");
            InputError::MissingColumn { path, column, key, columns, nearest }
        }
        InputError::Location(LocationError::NotFound { path, .. }) => {
            InputError::Location(LocationError::NotFound { what: WHAT, path })
        }
        InputError::Location(LocationError::Empty { path, endings, .. }) => {
            InputError::Location(LocationError::Empty { what: WHAT, path, endings })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::packages;
    use super::*;
    use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
    use std::path::Path;
    use std::sync::Arc;

    /// 2026-05-31; offers are for the day after.
    const AS_OF: i64 = 20_604;

    fn settings(path: &Path) -> ContactSettings {
        let text = |text: &str| text.to_owned();
        ContactSettings {
            path: path.display().to_string(),
            customer: text("C"),
            package: text("P"),
            time: text("T"),
        }
    }

    fn read(path: &Path, days: u32, budget: u64) -> Result<ContactHistory, PolicyError> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let codes = PackageCodes::of(&packages()).unwrap();
        ContactHistory::read(&settings(path), Arc::default(), days, AS_OF, &codes, runtime.handle(), budget)
    }

    fn of(history: &ContactHistory, id: &str) -> Vec<(i32, u32)> {
        history.of(customer_hash(id)).collect()
    }

    #[test]
    fn csv_and_parquet_with_text_or_integer_ids_say_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("contacts.csv");
        let lines = "T,x,C,P\n2026-05-31 10:00:00,1, 7 ,SOC1-3\n2026-06-01,1,7,gone\n2026-05-25,1,8,DAT30-1\n\
                     2026-05-24,1,8,DAT30-1\n2026-06-02,1,8,DAT30-1\nsoon,1,8,DAT30-1\n\
                     2026-05-30,1,,DAT30-1\n2026-05-30,1,8,\n";
        std::fs::write(&csv, lines).unwrap();
        let history = read(&csv, 7, 1 << 20).unwrap();
        let expected =
            ContactFigures { rows: 8, kept: 3, older: 1, later: 1, unusable: 3, unknown_packages: 1 };
        assert_eq!(history.figures, expected);
        let day = AS_OF as i32;
        assert_eq!(of(&history, "7"), [(day, 2), (day + 1, UNKNOWN)]);
        assert_eq!(of(&history, "8"), [(day - 6, 0)]);
        assert!(of(&history, "9").is_empty());

        let parquet = folder.path().join("contacts.parquet");
        let micros = [AS_OF * 86_400_000_000 + 1, (AS_OF - 6) * 86_400_000_000];
        let batch = RecordBatch::try_from_iter([
            ("C", Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef),
            ("P", Arc::new(StringArray::from(vec!["SOC1-3", "DAT30-1"]))),
            ("T", Arc::new(TimestampMicrosecondArray::from(micros.to_vec()))),
        ])
        .unwrap();
        let file = std::fs::File::create(&parquet).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let history = read(&parquet, 7, 1 << 20).unwrap();
        assert_eq!((of(&history, "7"), of(&history, "8")), (vec![(day, 2)], vec![(day - 6, 0)]));
    }

    #[test]
    fn a_file_beyond_the_budget_tells_what_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("contacts.csv");
        let lines: String = (0..1000).map(|n| format!("{n},SOC1-3,2026-05-30\n")).collect();
        std::fs::write(&csv, format!("C,P,T\n{lines}")).unwrap();
        assert_eq!(read(&csv, 7, 40_000).unwrap().len(), 1000);
        let error = read(&csv, 7, 39_999).unwrap_err();
        assert!(
            matches!(error, PolicyError::ContactsTooLarge { contacts: 1000, needed: 40_000, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("has 1000 contacts in the last 7 days, which take"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_told_in_the_words_of_the_contact_history() {
        use std::error::Error;
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("contacts.csv");
        let cause = |error: PolicyError| error.source().map(ToString::to_string).unwrap_or_default();
        assert!(cause(read(&csv, 7, 1 << 20).unwrap_err()).contains("contact history not found"));
        std::fs::write(&csv, "C,P,SENT\n1,SOC1-3,2026-05-30\n").unwrap();
        let told = cause(read(&csv, 7, 1 << 20).unwrap_err());
        assert!(told.contains("no column `T` (for contact_history.columns.time)"), "{told}");
        std::fs::write(&csv, "C,P,T\n1,SOC1-3,yesterday\n").unwrap();
        assert!(matches!(read(&csv, 7, 1 << 20), Err(PolicyError::NoContacts { rows: 1, .. })));
        std::fs::write(&csv, "C,P,T\n").unwrap();
        assert!(read(&csv, 7, 0).unwrap().is_empty());
    }

    #[test]
    fn every_customer_is_found_among_many() {
        let ids: Vec<String> = (0..5_000).map(|id| id.to_string()).collect();
        let rows: Vec<(&str, u32, i32)> = ids
            .iter()
            .zip(0..)
            .flat_map(|(id, n)| (0..n % 3).map(move |day| (id.as_str(), n as u32, day)))
            .collect();
        let history = ContactHistory::from_rows(&rows);
        for (id, n) in ids.iter().zip(0..) {
            let expected: Vec<(i32, u32)> = (0..n % 3).map(|day| (day, n as u32)).collect();
            assert_eq!(of(&history, id), expected);
        }
    }
}
