//! packwise reads the purchase history of a whole customer base on one machine, under a memory limit
//! that it keeps, and publishes what each customer should be offered next, and why.
//!
//! Start at [`pipeline::run`]: it tells the story. ARCHITECTURE.md says why it is built this way.

pub mod affinities;
pub mod charts;
pub mod cli;
pub mod commands;
pub mod config;
pub mod contract;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod features;
pub mod generate;
pub mod metrics;
pub mod neighbours;
pub mod numerics;
pub mod pipeline;
pub mod policies;
pub mod privacy;
pub mod published;
pub mod quantities;
pub mod recommendations;
pub mod runs;
pub mod segments;
pub mod spelling;
pub mod tables;
pub mod transactions;
pub mod value;
