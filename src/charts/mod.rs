//! The figures of a run as SVG text.
//!
//! Each function draws from plain numbers and returns the file's content: it reads no clock and
//! writes nothing, and the same input gives the same bytes. Numbers that are not finite are left
//! out of a curve and shown as "n/a" in a table.

mod canvas;
mod evaluation;
mod segments;
mod sweep;

pub use evaluation::{CurvePoint, MethodLine, MethodPoint, Role, accuracy_revenue, recall_by_k};
pub use segments::{SegmentBar, segments};
pub use sweep::{SweepPoint, sweep};
