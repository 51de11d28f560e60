//! What every recommender promises, tested on all of them with planted tastes.

use super::baselines::{
    AlsSettings, ImplicitAls, ItemKnn, ItemKnnSettings, LastPackage, OwnDecayed, OwnFrequent, OwnThenPopular,
    Popular, PopularSettings, Similarity, TifuKnn, TifuSettings, UpCf, UpCfSettings, UserKnn,
    UserKnnSettings,
};
use super::histories::{Histories, History, Line};
use super::recommender::{Recommender, Work, top};

/// Packages of one group.
const GROUP: u32 = 12;

/// Two groups of customers who buy from disjoint groups of packages. Group 0 is twice as large, so what
/// is popular is wrong for group 1. Every customer bought a favourite five times, lastly in a basket of
/// its own, and four other packages of its group once each.
struct Plant {
    histories: Histories,
    favourites: Vec<u32>,
}

impl Plant {
    fn new() -> Self {
        let mut histories = Histories::new(2 * GROUP as usize);
        let mut favourites = Vec::new();
        for customer in 0..90u32 {
            let first = if customer % 3 == 0 { GROUP } else { 0 };
            let of_group = |at: u32| first + at % GROUP;
            let favourite = of_group(customer / 3);
            let line = |day, package| Line { day, package, times: 1, amount: 100 };
            let often = (0..5).map(|at| line(10 + 7 * at, favourite));
            // Four steps of 1, 2 or 5 do not come back to the favourite, and customers of different
            // favourites bought different sets.
            let step = [1, 2, 5][(customer / 36) as usize % 3];
            let once = (1..5).map(|at| line(9 + 7 * at as i32, of_group(customer / 3 + at * step)));
            histories.push(40, often.chain(once)).unwrap();
            favourites.push(favourite);
        }
        Self { histories, favourites }
    }

    fn is_of_group(&self, customer: usize, package: u32) -> bool {
        package / GROUP == self.favourites[customer] / GROUP
    }
}

/// Which package must come first for every customer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    /// The customer's favourite.
    Favourite,
    /// Any package of the customer's group.
    OwnGroup,
    /// The package that most baskets held, the same for all.
    MostPopular,
}

/// What a method must find in the plant.
#[derive(Clone, Copy, Debug)]
struct Expect {
    first: First,
    /// Whether the best package that the customer never bought is of its group.
    new_of_group: bool,
    /// Whether no package scores better than one that the customer bought.
    bought_first: bool,
}

const OWN: Expect = Expect { first: First::Favourite, new_of_group: false, bought_first: true };
const SIMILAR: Expect = Expect { first: First::OwnGroup, new_of_group: true, bought_first: false };
const MIXED: Expect = Expect { first: First::Favourite, ..SIMILAR };

/// Every recommender, fitted, with what it must find.
fn recommenders(histories: &Histories) -> Vec<(Box<dyn Recommender>, Expect)> {
    let popular = PopularSettings::default();
    let popularity = Expect { first: First::MostPopular, new_of_group: false, bought_first: false };
    let without_self = ItemKnnSettings { include_self: false, ..ItemKnnSettings::default() };
    let euclidean = TifuSettings {
        similarity: Similarity::Euclidean,
        neighbours: 10,
        include_self: true,
        time_decay_days: Some(30.0),
        ..TifuSettings::default()
    };
    let als = AlsSettings { factors: 4, ..AlsSettings::default() };
    vec![
        (Box::new(Popular::fit(histories, popular)), popularity),
        (Box::new(OwnFrequent), OWN),
        (Box::new(OwnThenPopular::fit(histories, popular)), OWN),
        (Box::new(OwnDecayed::fit(histories, 30.0, popular).unwrap()), OWN),
        (Box::new(LastPackage::fit(histories, popular)), OWN),
        (Box::new(ItemKnn::fit(histories, &ItemKnnSettings::default(), 2).unwrap()), MIXED),
        (Box::new(ItemKnn::fit(histories, &without_self, 2).unwrap()), SIMILAR),
        (Box::new(UserKnn::fit(histories, &UserKnnSettings { neighbours: 20 }).unwrap()), SIMILAR),
        (Box::new(TifuKnn::fit(histories, &TifuSettings::default()).unwrap()), MIXED),
        (Box::new(TifuKnn::fit(histories, &euclidean).unwrap()), MIXED),
        (
            Box::new(
                UpCf::fit(histories, &UpCfSettings { neighbours: 10, ..UpCfSettings::default() }).unwrap(),
            ),
            MIXED,
        ),
        (Box::new(ImplicitAls::fit(histories, &als, 2).unwrap()), SIMILAR),
    ]
}

#[test]
fn every_recommender_keeps_its_promises() {
    let plant = Plant::new();
    for (recommender, expect) in recommenders(&plant.histories) {
        check(&*recommender, &plant, expect);
    }
}

#[test]
fn names_tell_recommenders_apart() {
    let recommenders = recommenders(&Plant::new().histories);
    let mut names = recommenders.iter().map(|(recommender, _)| recommender.name()).collect::<Vec<_>>();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn a_fit_on_nobody_still_scores() {
    let nobody = Histories::new(3);
    let asked = [Line { day: 1, package: 2, times: 1, amount: 1 }];
    for (recommender, _) in recommenders(&nobody) {
        let mut scores = [f64::NAN; 3];
        recommender.score(&History { number: None, as_of: 2, lines: &asked }, &mut scores, &mut Work::new());
        assert!(scores.iter().all(|score| score.is_finite()), "{}: {scores:?}", recommender.name());
    }
}

/// All promises of one recommender, which must be fitted on the plant.
fn check(recommender: &dyn Recommender, plant: &Plant, expect: Expect) {
    finds_the_plant(recommender, plant, expect);
    gives_the_same_bits(recommender, plant);
    leaves_out_what_is_excluded(recommender, plant);
    scores_customers_it_does_not_know(recommender, plant);
}

fn score(recommender: &dyn Recommender, customer: &History, packages: usize, work: &mut Work) -> Vec<f64> {
    let mut scores = vec![f64::NAN; packages];
    recommender.score(customer, &mut scores, work);
    let all = scores.iter().all(|&score| score.is_finite() || score == f64::NEG_INFINITY);
    assert!(all, "{}: a score is no number in {scores:?}", recommender.name());
    scores
}

fn first(scores: &[f64], excluded: &dyn Fn(u32) -> bool) -> Option<u32> {
    let mut out = Vec::new();
    top(scores, excluded, 1, &mut out);
    out.first().copied()
}

fn finds_the_plant(recommender: &dyn Recommender, plant: &Plant, expect: Expect) {
    let Plant { histories, favourites } = plant;
    let (name, mut work) = (recommender.name(), Work::new());
    for (customer, history) in histories.iter().enumerate() {
        let scores = score(recommender, &history, histories.packages(), &mut work);
        let best = first(&scores, &|_| false).unwrap();
        match expect.first {
            First::Favourite => assert_eq!(best, favourites[customer], "{name}: customer {customer}"),
            First::OwnGroup => assert!(plant.is_of_group(customer, best), "{name}: {best} for {customer}"),
            First::MostPopular => {
                let baskets =
                    |package| histories.lines().iter().filter(|line| line.package == package).count();
                let most =
                    (0..2 * GROUP).max_by_key(|&package| (baskets(package), 2 * GROUP - package)).unwrap();
                assert_eq!(best, most, "{name}: customer {customer}");
            }
        }
        let is_bought = |package| history.lines.iter().any(|line| line.package == package);
        let new = first(&scores, &is_bought).unwrap();
        if expect.new_of_group {
            assert!(plant.is_of_group(customer, new), "{name}: {new} is new to customer {customer}");
        }
        if expect.bought_first {
            let worst =
                history.lines.iter().map(|line| scores[line.package as usize]).fold(f64::INFINITY, f64::min);
            assert!(worst >= scores[new as usize], "{name}: customer {customer} never bought {new}");
        }
    }
}

fn gives_the_same_bits(recommender: &dyn Recommender, plant: &Plant) {
    let packages = plant.histories.packages();
    let bits = |customer: usize, work: &mut Work| {
        let scores = score(recommender, &plant.histories.get(customer), packages, work);
        scores.into_iter().map(f64::to_bits).collect::<Vec<_>>()
    };
    let customers = plant.histories.len();
    let mut kept = Work::new();
    let forward = (0..customers).map(|customer| bits(customer, &mut kept)).collect::<Vec<_>>();
    let mut backward = (0..customers).rev().map(|customer| bits(customer, &mut kept)).collect::<Vec<_>>();
    backward.reverse();
    assert_eq!(forward, backward, "{}: another order of customers", recommender.name());
    let fresh = || (0..customers).map(|customer| bits(customer, &mut Work::new())).collect::<Vec<_>>();
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(fresh);
        (fresh(), other.join().unwrap())
    });
    assert_eq!(forward, one, "{}: fresh memory", recommender.name());
    assert_eq!(forward, two, "{}: another thread", recommender.name());
}

fn leaves_out_what_is_excluded(recommender: &dyn Recommender, plant: &Plant) {
    let packages = plant.histories.packages();
    let (mut work, mut out) = (Work::new(), Vec::new());
    for customer in plant.histories.iter() {
        let scores = score(recommender, &customer, packages, &mut work);
        let best = first(&scores, &|_| false);
        top(&scores, &|package| Some(package) == best, packages, &mut out);
        let offered = scores.iter().filter(|&&score| score > f64::NEG_INFINITY).count();
        let name = recommender.name();
        assert!(out.iter().all(|&package| Some(package) != best), "{name}: {best:?} was excluded");
        assert_eq!(out.len(), offered - 1, "{name}: nothing else was excluded");
    }
}

fn scores_customers_it_does_not_know(recommender: &dyn Recommender, plant: &Plant) {
    let (packages, mut work) = (plant.histories.packages(), Work::new());
    let nothing = History { number: None, as_of: 40, lines: &[] };
    let scores = score(recommender, &nothing, packages, &mut work);
    let name = recommender.name();
    assert!(scores.iter().all(|score| score.is_finite()), "{name}: no history: {scores:?}");
    for customer in plant.histories.iter() {
        let scores = score(recommender, &customer.unseen(), packages, &mut work);
        assert!(first(&scores, &|_| false).is_some(), "{name}: nothing for a copy of {:?}", customer.number);
    }
}
