//! Caps over all customers: what a first pass finds, the prices that follow from it, and what they leave
//! of each customer's offers. See [`super::caps`] for the method.
//!
//! Offers are decided twice. The first pass writes down the best offers of every customer that could get
//! a capped package; the prices are solved on that; the second pass offers under the prices. Both passes
//! decide alike, so what was counted is what is published.

use super::RecommendationError;
use super::caps::{self, Candidates, Constraint, PackagePrices};
use super::offers::{Rule, Walk};
use super::score::Candidate;
use crate::policies::{Cap, RuleInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Added to the utility of pinned packages: prices do not unpin them.
const PINNED: f32 = 1e4;

/// What a cap came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapFigures {
    pub rule: String,
    pub owner: String,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Offers without any cap, and with all of them.
    pub unconstrained: f64,
    pub offers: f64,
    /// ln odds that one more offer would be worth: above 0 where the limit holds offers back, below 0
    /// where it pushes them.
    pub shadow_price: f64,
}

/// Prices, and who goes without.
pub struct CapPlan {
    prices: PackagePrices,
    denied: BTreeMap<(u32, u32), Vec<u32>>,
    /// The first cap of each package.
    rules: Vec<Option<Rule>>,
    pub figures: Vec<CapFigures>,
}

/// The offers that a first pass found, in a file a part.
pub struct CapSpill {
    folder: PathBuf,
    parts: usize,
    capped: Vec<bool>,
}

/// One part of it being written.
pub struct CapSpillWriter<'a> {
    spill: &'a CapSpill,
    file: BufWriter<File>,
}

impl CapSpill {
    /// In a folder of the scratch disk, which is made. Disk: 8 bytes an offer of customers that could
    /// get a capped package.
    pub fn new(folder: &Path, parts: usize, packages: usize, caps: &[Cap]) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut capped = vec![false; packages];
        caps.iter().flat_map(|cap| &cap.packages).for_each(|package| capped[*package as usize] = true);
        Ok(Self { folder: folder.to_owned(), parts, capped })
    }

    fn path(&self, part: usize) -> PathBuf {
        self.folder.join(format!("offers-{part:05}"))
    }

    pub fn writer(&self, part: usize) -> std::io::Result<CapSpillWriter<'_>> {
        Ok(CapSpillWriter { spill: self, file: BufWriter::new(File::create(self.path(part))?) })
    }
}

impl CapSpillWriter<'_> {
    /// Writes a customer's offers down, if a capped package is among them.
    pub fn add(&mut self, row: usize, key: u64, offers: &[caps::Candidate]) -> std::io::Result<()> {
        if !offers.iter().any(|offer| self.spill.capped[offer.package as usize]) {
            return Ok(());
        }
        self.file.write_all(&(row as u32).to_le_bytes())?;
        self.file.write_all(&key.to_le_bytes())?;
        self.file.write_all(&(offers.len() as u32).to_le_bytes())?;
        for offer in offers {
            self.file.write_all(&offer.package.to_le_bytes())?;
            self.file.write_all(&offer.utility.to_le_bytes())?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Candidates for CapSpill {
    type Error = std::io::Error;

    fn parts(&self) -> usize {
        self.parts
    }

    fn read(&self, part: usize, f: &mut dyn FnMut(u32, u64, &[caps::Candidate])) -> std::io::Result<()> {
        let mut file = BufReader::with_capacity(1 << 18, File::open(self.path(part))?);
        let mut offers = Vec::new();
        let mut head = [0u8; 16];
        loop {
            match file.read_exact(&mut head) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
            let [a, b, c, d, key @ .., e, f1, g, h] = head;
            let (row, count) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f1, g, h]));
            offers.clear();
            for _ in 0..count {
                let (mut package, mut utility) = ([0u8; 4], [0u8; 4]);
                file.read_exact(&mut package)?;
                file.read_exact(&mut utility)?;
                offers.push(caps::Candidate {
                    package: u32::from_le_bytes(package),
                    utility: f32::from_le_bytes(utility),
                });
            }
            f(row, u64::from_le_bytes(key), &offers);
        }
    }
}

/// The offers that stand, as the solver sees them.
pub fn candidates_of(ranking: &[Candidate], chosen: &[usize], pinned: usize, out: &mut Vec<caps::Candidate>) {
    out.clear();
    out.extend(chosen.iter().map(|position| caps::Candidate {
        package: ranking[*position].package,
        utility: ranking[*position].utility as f32 + if *position < pinned { PINNED } else { 0.0 },
    }));
}

impl CapPlan {
    /// Solves the prices of all caps on what the first pass found.
    pub fn solve(
        caps: &[Cap],
        infos: &[RuleInfo],
        spill: &CapSpill,
        top: usize,
        threads: usize,
    ) -> Result<Self, RecommendationError> {
        let info = |cap: &Cap| infos.get(cap.rule as usize);
        let constraints: Vec<Constraint> = caps
            .iter()
            .map(|cap| Constraint {
                name: info(cap).map_or_else(String::new, |rule| rule.name.clone()),
                weights: cap.packages.iter().map(|package| (*package, 1.0)).collect(),
                max: cap.limits.most().map(|most| most as f64),
                min: cap.limits.min_customers.map(|least| least as f64),
            })
            .collect();
        let solved = caps::assign(&constraints, top, spill, threads).map_err(|source| {
            let rule = match &source {
                caps::CapError::CannotMeet { constraint, .. } => constraint.clone(),
                _ => String::new(),
            };
            let line = infos.iter().find(|info| info.name == rule).map_or(0, |info| info.line);
            RecommendationError::Caps { rule, line, source: Box::new(source) }
        })?;
        let mut rules = vec![None; spill.capped.len()];
        for cap in caps {
            for package in &cap.packages {
                rules[*package as usize].get_or_insert(cap.rule);
            }
        }
        let figures = constraints.iter().zip(caps).enumerate().map(|(at, (constraint, cap))| CapFigures {
            rule: constraint.name.clone(),
            owner: info(cap).map_or_else(String::new, |rule| rule.owner.clone()),
            min: constraint.min,
            max: constraint.max,
            unconstrained: solved.unconstrained[at],
            offers: solved.totals[at],
            shadow_price: solved.prices[at],
        });
        Ok(Self { figures: figures.collect(), prices: solved.package_prices, denied: solved.denied, rules })
    }

    /// Leaves of the standing offers of one customer what the prices allow, `top` at the most; the
    /// capped ones that would have been among them are refused.
    #[expect(clippy::too_many_arguments, reason = "one customer's place and list")]
    pub fn apply(
        &self,
        ranking: &[Candidate],
        pinned: usize,
        part: usize,
        row: usize,
        top: usize,
        first_rule: Rule,
        walk: &mut Walk,
    ) {
        let mut offers = Vec::new();
        candidates_of(ranking, &walk.chosen, pinned, &mut offers);
        let denied = self.denied.get(&(part as u32, row as u32)).map_or(&[][..], Vec::as_slice);
        let mut kept = Vec::new();
        caps::choose(&offers, &self.prices, denied, top, &mut kept);
        let chosen: Vec<usize> = kept.iter().map(|at| walk.chosen[*at]).collect();
        for position in walk.chosen.iter().take(top).filter(|position| !chosen.contains(position)) {
            if let Some(rule) = self.rules[ranking[*position].package as usize] {
                walk.refused.push((*position, rule + first_rule));
            }
        }
        walk.chosen = chosen;
        walk.chosen.sort_unstable();
    }
}
