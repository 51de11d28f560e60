//! Models of what a customer will buy and spend: BG/NBD, MBG/NBD and Gamma-Gamma.
//!
//! A customer is summed up by three numbers: x repeat purchases, the last of them at t_x, watched until T,
//! times counted from the first purchase in one typed unit ([`TimeUnit`]). From weighted distinct tuples
//! of them ([`Tuples`]) a purchase model is fitted ([`fit_purchases`]), from mean values of repeat purchases
//! a spend model ([`fit_spend`]). Together they give the discounted value of a customer
//! ([`ValueHorizon`]):
//!
//! | step | once for each | file |
//! |---|---|---|
//! | fit | run | `fit.rs`, `likelihood.rs`, `gamma_gamma.rs` |
//! | expected purchases if alive | distinct (x, T) | `expected.rs` |
//! | P(alive) | customer | `bg_nbd.rs` |
//! | mean spend | customer | `gamma_gamma.rs` |
//! | value | customer: a product of the three | `clv.rs` |
//!
//! Everything here is arithmetic on slices: no files, no threads, sums in one fixed order.

pub mod bg_nbd;
pub mod clv;
pub mod expected;
pub mod fit;
pub mod gamma_gamma;
mod likelihood;
pub mod report;
pub mod summary;

pub use bg_nbd::{BgNbd, Dropout, ParameterError};
pub use clv::{MONTH_DAYS, ValueHorizon, ValueHorizonError};
pub use expected::{Horizon, HorizonError};
pub use fit::{FitError, FitOptions, PurchaseFit, SpendFit, fit_purchases, fit_spend};
pub use gamma_gamma::{GammaGamma, NoMean, SpendError, SpendRows};
pub use report::{FitReport, Unidentified};
pub use summary::{PurchaseTuple, TimeUnit, TupleError, Tuples, UnitTimes};

#[cfg(test)]
mod tests;
