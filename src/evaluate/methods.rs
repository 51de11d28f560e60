//! The baselines of the report, each with the settings that it may choose between. The choice is made
//! on the window before the cut-off, as the weights of packwise are: by recall at 10, ties to the first.

use super::baselines::{
    AlsSettings, BaselineError, Grouping, ImplicitAls, ItemKnn, ItemKnnSettings, LastPackage, OwnDecayed,
    OwnFrequent, OwnThenPopular, Popular, PopularSettings, TifuKnn, TifuSettings, UpCf, UpCfSettings,
    UserKnn, UserKnnSettings,
};
use super::cases::Cases;
use super::histories::Histories;
use super::judge::{Listing, recall};
use super::recommender::Recommender;

/// Tested customers that a choice is made on.
const CHOICE_SAMPLE: usize = 2_000;
/// Where recall is compared.
const CHOICE_AT: usize = 10;
/// How many baselines there are.
pub const FAMILIES: u64 = 12;

/// One setting of one method.
#[derive(Debug, Clone, Copy)]
enum Setting {
    Popular(PopularSettings),
    OwnFrequent,
    OwnThenPopular(PopularSettings),
    OwnDecayed(f64),
    LastPackage,
    ItemKnn(ItemKnnSettings),
    UserKnn(UserKnnSettings),
    Tifu(TifuSettings),
    UpCf(UpCfSettings),
    Als(AlsSettings),
}

/// A method and what it may choose between.
struct Family {
    name: &'static str,
    settings: Vec<Setting>,
}

/// A method that has chosen.
pub struct Baseline {
    pub name: &'static str,
    setting: Setting,
    /// How the choice was made.
    pub tried: usize,
}

fn families() -> Vec<Family> {
    let recent = |days| PopularSettings { days, ..PopularSettings::default() };
    let items = |neighbours, include_self| {
        Setting::ItemKnn(ItemKnnSettings { neighbours, include_self, ..ItemKnnSettings::default() })
    };
    let tifu =
        |alpha, neighbours| Setting::Tifu(TifuSettings { alpha, neighbours, ..TifuSettings::default() });
    let timed = |days, alpha| {
        let time_decay_days = Some(days);
        Setting::Tifu(TifuSettings { time_decay_days, alpha, ..TifuSettings::default() })
    };
    let up_cf = |locality, recent_baskets| {
        Setting::UpCf(UpCfSettings { locality, recent_baskets, ..UpCfSettings::default() })
    };
    let als = |factors, ridge| Setting::Als(AlsSettings { factors, ridge, ..AlsSettings::default() });
    let users = |neighbours| Setting::UserKnn(UserKnnSettings { neighbours });
    let family = |name, settings: &[Setting]| Family { name, settings: settings.to_vec() };
    let popular = [None, Some(28), Some(7)].map(|days| Setting::Popular(recent(days)));
    let own_then = [None, Some(28), Some(7)].map(|days| Setting::OwnThenPopular(recent(days)));
    vec![
        family("most popular", &popular),
        family("own most frequent", &[Setting::OwnFrequent]),
        family("own then popular (GP-Top)", &own_then),
        family("own with time decay", &[30.0, 90.0, 365.0].map(Setting::OwnDecayed)),
        family("last package", &[Setting::LastPackage]),
        family("item-kNN with self", &[items(50, true), items(200, true), items(1000, true)]),
        family("item-kNN without self", &[items(50, false), items(200, false), items(1000, false)]),
        family("user-kNN", &[users(50), users(200), users(500)]),
        family("TIFU-KNN", &[tifu(0.4, 300), tifu(0.7, 300), tifu(0.9, 300)]),
        family("TIFU-KNN with time decay", &[timed(60.0, 0.7), timed(180.0, 0.7), timed(180.0, 0.9)]),
        family("UP-CF@r", &[up_cf(5.0, 24), up_cf(10.0, 24), up_cf(5.0, 5)]),
        family("implicit ALS", &[als(32, 10.0), als(64, 10.0), als(64, 100.0)]),
    ]
}

impl Setting {
    fn fit(self, histories: &Histories, threads: usize) -> Result<Box<dyn Recommender>, BaselineError> {
        let all = PopularSettings::default();
        Ok(match self {
            Self::Popular(settings) => Box::new(Popular::fit(histories, settings)),
            Self::OwnFrequent => Box::new(OwnFrequent),
            Self::OwnThenPopular(settings) => Box::new(OwnThenPopular::fit(histories, settings)),
            Self::OwnDecayed(half_life) => Box::new(OwnDecayed::fit(histories, half_life, all)?),
            Self::LastPackage => Box::new(LastPackage::fit(histories, all)),
            Self::ItemKnn(settings) => Box::new(ItemKnn::fit(histories, &settings, threads)?),
            Self::UserKnn(settings) => Box::new(UserKnn::fit(histories, &settings)?),
            Self::Tifu(settings) => Box::new(TifuKnn::fit(histories, &settings)?),
            Self::UpCf(settings) => Box::new(UpCf::fit(histories, &settings)?),
            Self::Als(settings) => Box::new(ImplicitAls::fit(histories, &settings, threads)?),
        })
    }
}

/// Lets every method choose on the cases of the window before the cut-off; with nobody to choose on it
/// takes its first setting.
pub fn choose(before: &Cases, threads: usize) -> Result<Vec<Baseline>, BaselineError> {
    let customers: Vec<usize> = before.truths.iter().map(|truth| truth.customer).collect();
    let step = customers.len().div_ceil(CHOICE_SAMPLE).max(1);
    let sample: Vec<usize> = customers.into_iter().step_by(step).collect();
    let mut chosen = Vec::new();
    for Family { name, settings } in families() {
        let mut best: Option<(f64, Setting)> = None;
        for setting in &settings {
            let reached = if settings.len() == 1 || sample.is_empty() {
                0.0
            } else {
                let method = setting.fit(&before.histories, threads)?;
                let listing = Listing::new(CHOICE_AT, threads);
                recall(&listing.lists(method.as_ref(), &before.histories, &sample), &before.truths, &sample)
            };
            if best.is_none_or(|(most, _)| reached > most) {
                best = Some((reached, *setting));
            }
        }
        if let Some((_, setting)) = best {
            chosen.push(Baseline { name, setting, tried: settings.len() });
        }
    }
    Ok(chosen)
}

impl Baseline {
    /// Fits the chosen setting.
    pub fn fit(&self, histories: &Histories, threads: usize) -> Result<Box<dyn Recommender>, BaselineError> {
        self.setting.fit(histories, threads)
    }
}

/// A method with its name in the report and the histories that it scores.
pub type Published<'a> = (&'static str, Box<dyn Recommender>, &'a Histories);

/// Methods as published tables of next-basket papers have them: fitted on, and scoring from, training
/// baskets alone where those did, and popularity from all that is known. Settings and figures are those
/// of Romanov et al. (*Time-aware item weighting for the next basket recommendations*, RecSys 2023).
pub fn published<'a>(
    training: &'a Histories,
    known: &'a Histories,
) -> Result<Vec<Published<'a>>, BaselineError> {
    let tifu = TifuSettings { grouping: Grouping::Published, include_self: true, ..TifuSettings::default() };
    Ok(vec![
        ("popular, published", Box::new(Popular::fit(known, PopularSettings::default())), known),
        (
            "TIFU-KNN, published settings, without validation",
            Box::new(TifuKnn::fit(training, &tifu)?),
            training,
        ),
        (
            "UP-CF@r, published settings, without validation",
            Box::new(UpCf::fit(training, &UpCfSettings::default())?),
            training,
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::{Line, Truths};
    use crate::evaluate::recommender::Work;

    fn histories(packages: &[u32]) -> Histories {
        let mut histories = Histories::new(4);
        for package in packages {
            let line = |day, package| Line { day, package, times: 1, amount: 1 };
            histories.push(9, [line(1, *package), line(2, *package), line(3, 3)]).unwrap();
        }
        histories
    }

    #[test]
    fn every_family_chooses_even_with_nobody_to_choose_on() {
        assert_eq!(families().len() as u64, FAMILIES);
        let mut nobody = Cases::empty(4);
        nobody.histories = histories(&[0, 1]);
        let chosen = choose(&nobody, 1).unwrap();
        assert_eq!(chosen.len() as u64, FAMILIES);
        assert!(chosen.iter().all(|baseline| baseline.fit(&nobody.histories, 1).is_ok()));
    }

    #[test]
    fn a_choice_is_made_by_recall() {
        let mut before = Cases::empty(4);
        before.histories = histories(&[0, 0, 1]);
        let mut truths = Truths::new();
        truths.push(2, &[Line { day: 9, package: 1, times: 1, amount: 1 }]);
        before.truths = truths;
        // With four packages every list of ten holds what was bought, so the first setting stands.
        let popular = choose(&before, 1).unwrap().remove(0);
        assert!(matches!(popular.setting, Setting::Popular(PopularSettings { days: None, .. })));
        assert_eq!((popular.name, popular.tried), ("most popular", 3));
    }

    #[test]
    fn published_rows_see_training_baskets_or_all_as_stated() {
        let (training, known) = (histories(&[0, 0]), histories(&[0, 1]));
        let rows = published(&training, &known).unwrap();
        assert_eq!(rows.len(), 3);
        assert!(std::ptr::eq(rows[0].2, &known) && std::ptr::eq(rows[1].2, &training));
        let mut scores = vec![0.0; 4];
        rows[1].1.score(&training.get(1), &mut scores, &mut Work::new());
        assert!(scores[0] > scores[3] && scores[1] <= 0.0, "{scores:?}");
    }
}
