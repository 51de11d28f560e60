//! Similarity vectors: scaled behaviour and package tastes in a few dimensions.
//!
//! Tastes are the leading singular vectors of the sample's customer × package matrix (term weights
//! 1 + ln of the decayed purchases, inverse document frequency, rows of unit length), so that two
//! customers with similar packages are near each other without a package in common. Behaviour and
//! tastes are then rotated onto their principal components.

use super::NeighbourError;
use crate::config::resolve::Neighbours as Settings;
use crate::features::SampledCustomer;
use crate::numerics::factor::{FactorOptions, Factors, SparseRows};
use crate::numerics::pca::Pca;

/// Customers that are projected at once.
const MIXED: usize = 512;

/// The fitted map from a customer to its vector.
pub struct VectorModel {
    behaviour_dims: usize,
    factors: Option<Factors>,
    /// By package rank.
    idf: Vec<f32>,
    taste_scale: f32,
    pca: Pca,
}

impl VectorModel {
    /// Fits on the sample and its scaled behaviour. None with fewer than two customers.
    pub fn fit(
        sample: &[SampledCustomer],
        scaled: &[f32],
        behaviour_dims: usize,
        packages: usize,
        settings: &Settings,
        seed: u64,
        threads: usize,
    ) -> Result<Option<Self>, NeighbourError> {
        if sample.len() < 2 || behaviour_dims == 0 {
            return Ok(None);
        }
        let idf = inverse_document_frequency(sample, packages);
        let tastes = settings.taste_weight > 0.0 && settings.tastes > 0;
        let factors = if tastes { factor(sample, &idf, settings.tastes, seed)? } else { None };
        // A taste vector has length 1 at most; behaviour has variance 1 in every column.
        let taste_scale = (settings.taste_weight * (behaviour_dims as f64).sqrt()) as f32;
        let rank = factors.as_ref().map_or(0, Factors::rank);
        let columns = behaviour_dims + rank;
        let mut rows = vec![0f32; sample.len() * columns];
        let mut model = Self {
            behaviour_dims,
            factors,
            idf,
            taste_scale,
            pca: Pca::fit(&vec![0.0; 2 * columns], columns, 1, 1)?,
        };
        let (mut codes, mut weights) = (Vec::new(), Vec::new());
        for ((customer, scaled), out) in
            sample.iter().zip(scaled.chunks_exact(behaviour_dims)).zip(rows.chunks_exact_mut(columns))
        {
            codes.clear();
            weights.clear();
            codes.extend(customer.packages.iter().map(|(code, _)| *code));
            weights.extend(customer.packages.iter().map(|(_, weight)| f64::from(*weight)));
            model.mixed(scaled, &codes, &weights, &mut Vec::new(), out);
        }
        model.pca = Pca::fit(&rows, columns, settings.dimensions, threads)?;
        Ok(Some(model))
    }

    /// Dimensions of a vector.
    pub fn dims(&self) -> usize {
        self.pca.kept()
    }

    fn columns(&self) -> usize {
        self.behaviour_dims + self.factors.as_ref().map_or(0, Factors::rank)
    }

    /// The vectors of customers given by scaled behaviour, package ranks and decayed weights.
    pub fn vectors<'a>(
        &self,
        customers: impl ExactSizeIterator<Item = (&'a [f32], &'a [u32], &'a [f64])>,
    ) -> Result<Vec<f32>, NeighbourError> {
        let mut vectors = Vec::new();
        self.vectors_into(customers, &mut vectors)?;
        Ok(vectors)
    }

    /// The same into `vectors`, which is cleared first.
    pub fn vectors_into<'a>(
        &self,
        mut customers: impl ExactSizeIterator<Item = (&'a [f32], &'a [u32], &'a [f64])>,
        vectors: &mut Vec<f32>,
    ) -> Result<(), NeighbourError> {
        let (columns, dims) = (self.columns(), self.dims());
        vectors.clear();
        vectors.resize(customers.len() * dims, 0.0);
        // A few at a time: what is mixed stays in a cache.
        let mut mixed = vec![0f32; MIXED.min(customers.len()) * columns];
        let mut terms = Vec::new();
        for vectors in vectors.chunks_mut(MIXED * dims.max(1)) {
            let mixed = &mut mixed[..vectors.len() / dims.max(1) * columns];
            for (out, (scaled, codes, weights)) in mixed.chunks_exact_mut(columns).zip(&mut customers) {
                out.fill(0.0);
                self.mixed(scaled, codes, weights, &mut terms, out);
            }
            self.pca.project(mixed, vectors)?;
        }
        Ok(())
    }

    fn mixed(&self, scaled: &[f32], codes: &[u32], weights: &[f64], terms: &mut Vec<f32>, out: &mut [f32]) {
        let (behaviour, tastes) = out.split_at_mut(self.behaviour_dims);
        behaviour.copy_from_slice(scaled);
        if let Some(factors) = &self.factors {
            term_weights(codes, weights, &self.idf, terms);
            factors.embed(codes, terms, tastes);
            tastes.iter_mut().for_each(|taste| *taste *= self.taste_scale);
        }
    }
}

/// `ln(customers / buyers)` of every package, 0 for one that nobody in the sample bought.
fn inverse_document_frequency(sample: &[SampledCustomer], packages: usize) -> Vec<f32> {
    let mut buyers = vec![0u32; packages];
    for (code, _) in sample.iter().flat_map(|customer| customer.packages.iter()) {
        buyers[*code as usize] += 1;
    }
    let all = sample.len() as f64;
    buyers
        .into_iter()
        .map(|buyers| if buyers == 0 { 0.0 } else { (1.0 + all / f64::from(buyers)).ln() as f32 })
        .collect()
}

/// Weights of a customer's packages with length 1 in all (0 for a customer without any).
fn term_weights(codes: &[u32], weights: &[f64], idf: &[f32], terms: &mut Vec<f32>) {
    terms.clear();
    let mut squares = 0.0;
    for (code, weight) in codes.iter().zip(weights) {
        let term = (weight.ln_1p() * f64::from(idf[*code as usize])) as f32;
        terms.push(term);
        squares += f64::from(term) * f64::from(term);
    }
    if squares > 0.0 {
        let length = squares.sqrt() as f32;
        terms.iter_mut().for_each(|term| *term /= length);
    }
}

fn factor(
    sample: &[SampledCustomer],
    idf: &[f32],
    rank: usize,
    seed: u64,
) -> Result<Option<Factors>, NeighbourError> {
    let (mut offsets, mut columns, mut values) = (vec![0usize], Vec::new(), Vec::new());
    let (mut codes, mut weights, mut terms) = (Vec::new(), Vec::new(), Vec::new());
    for customer in sample {
        codes.clear();
        weights.clear();
        codes.extend(customer.packages.iter().map(|(code, _)| *code));
        weights.extend(customer.packages.iter().map(|(_, weight)| f64::from(*weight)));
        term_weights(&codes, &weights, idf, &mut terms);
        columns.extend_from_slice(&codes);
        values.extend_from_slice(&terms);
        offsets.push(columns.len());
    }
    let matrix = SparseRows::new(&offsets, &columns, &values, idf.len())?;
    let factors = Factors::fit(matrix, &FactorOptions::new(rank, seed))?;
    Ok((factors.rank() > 0).then_some(factors))
}
