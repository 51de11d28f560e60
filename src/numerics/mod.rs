//! Algorithms on plain numbers: no files, no sessions, no configuration.

pub mod agreement;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod blocks;
pub mod cholesky;
pub mod coarse;
pub mod correlation;
pub mod describe;
pub mod digits;
pub mod eigen;
pub mod factor;
pub mod histogram;
pub mod kmeans;
pub mod logistic;
pub mod near;
pub mod newton;
pub mod pages;
pub mod pca;
pub mod random;
pub mod rows;
pub mod sample;
pub mod scaling;
pub mod significance;
pub mod silhouette;
pub mod simd;
pub mod special;
