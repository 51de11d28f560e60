//! Algorithms on plain numbers: no files, no sessions, no configuration.

pub mod agreement;
pub mod blocks;
pub mod cholesky;
pub mod describe;
pub mod eigen;
pub mod factor;
pub mod kmeans;
pub mod logistic;
pub mod pca;
pub mod random;
pub mod sample;
pub mod scaling;
pub mod silhouette;
pub mod simd;
