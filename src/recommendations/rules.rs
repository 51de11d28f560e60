//! What must not be offered: rules over packages, made once, and over a customer and a package.

use crate::config::resolve::Recommendations;
use crate::features::Features;
use crate::policies::{Kind, RuleInfo, Stage};

/// Why a package was left out for a customer; the order is the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excluded {
    Retired,
    Denied,
    ServiceType,
    PriceStep,
    Active,
}

impl Excluded {
    pub const ALL: [Self; 5] =
        [Self::Retired, Self::Denied, Self::ServiceType, Self::PriceStep, Self::Active];

    /// The rule as the funnel names it: the key that sets it.
    pub fn info(self, settings: &Recommendations) -> RuleInfo {
        let (name, stage, in_force) = match self {
            Self::Retired => ("retired packages", Stage::Eligibility, true),
            Self::Denied => ("deny_packages", Stage::Eligibility, !settings.deny_packages.is_empty()),
            Self::ServiceType => (
                "service types",
                Stage::Eligibility,
                !(settings.allow_service_types.is_empty() && settings.deny_service_types.is_empty()),
            ),
            Self::PriceStep => ("max_price_step", Stage::Suitability, settings.max_price_step.is_some()),
            Self::Active => ("exclude_active", Stage::Applicability, settings.exclude_active),
        };
        RuleInfo {
            name: name.to_owned(),
            kind: Kind::Deny,
            stage,
            owner: "configuration".to_owned(),
            line: 0,
            in_force,
            note: None,
        }
    }
}

/// The rules, resolved against the packages of the run.
pub struct Rules {
    /// By package rank: why nobody is offered it.
    never: Vec<Option<Excluded>>,
    /// Minor units, by package rank.
    prices: Vec<Option<i64>>,
    /// Days that a purchase lasts; None where rule or validity is missing.
    lasts: Vec<Option<f64>>,
    /// Whether there is any other rule than that of `never`.
    asks: bool,
    max_price_step: Option<f64>,
    /// Since 1970.
    as_of_day: i32,
}

/// What a rule needs to know of a customer.
#[derive(Debug, Clone, Copy)]
pub struct CustomerFacts {
    /// Currency units in minor units: what a purchase usually costs the customer; 0 if unknown.
    pub usual_price: f64,
}

impl Rules {
    /// `as_of_day`: the last day of the data, since 1970.
    pub fn new(settings: &Recommendations, features: &Features, as_of_day: i64) -> Self {
        let never = features
            .packages
            .iter()
            .zip(&features.retired)
            .map(|(package, retired)| {
                let service = package.service_type.as_ref();
                let in_list = |list: &[String]| service.is_some_and(|service| list.contains(service));
                if *retired {
                    Some(Excluded::Retired)
                } else if settings.deny_packages.contains(&package.code) {
                    Some(Excluded::Denied)
                } else if in_list(&settings.deny_service_types)
                    || !(settings.allow_service_types.is_empty() || in_list(&settings.allow_service_types))
                {
                    Some(Excluded::ServiceType)
                } else {
                    None
                }
            })
            .collect();
        let lasts = features
            .packages
            .iter()
            .map(|package| package.validity_days.filter(|days| settings.exclude_active && days.is_finite()))
            .collect();
        Self {
            never,
            prices: features.packages.iter().map(|package| package.price).collect(),
            lasts,
            asks: settings.exclude_active || settings.max_price_step.is_some(),
            max_price_step: settings.max_price_step,
            as_of_day: as_of_day as i32,
        }
    }

    /// Whether any package may be refused to anybody.
    pub fn refuse(&self) -> bool {
        self.asks || self.never.iter().any(Option::is_some)
    }

    /// Whether it matters what a purchase usually costs a customer.
    pub fn ask_for_prices(&self) -> bool {
        self.max_price_step.is_some()
    }

    /// Why a package is not offered to a customer, if it is not; `last` is when the customer last
    /// bought it, in days since 1970.
    pub fn excluded(&self, package: u32, customer: CustomerFacts, last: Option<i32>) -> Option<Excluded> {
        let package = package as usize;
        if let Some(reason) = self.never[package] {
            return Some(reason);
        }
        if !self.asks {
            return None;
        }
        if let (Some(step), Some(price)) = (self.max_price_step, self.prices[package])
            && customer.usual_price > 0.0
            && price as f64 > step * customer.usual_price
        {
            return Some(Excluded::PriceStep);
        }
        if let (Some(lasts), Some(last)) = (self.lasts[package], last)
            // A purchase on day d that lasts n days is active up to day d + n − 1.
            && f64::from(last) + lasts > f64::from(self.as_of_day) + 1.0
        {
            return Some(Excluded::Active);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            never: vec![None, Some(Excluded::Retired), None],
            prices: vec![Some(1000), Some(10), Some(3000)],
            lasts: vec![Some(30.0), None, None],
            asks: true,
            max_price_step: Some(2.0),
            as_of_day: 99,
        }
    }

    #[test]
    fn each_rule_takes_what_it_names_and_nothing_else() {
        let (rules, usual) = (rules(), CustomerFacts { usual_price: 1000.0 });
        assert_eq!(rules.excluded(0, usual, None), None);
        assert_eq!(rules.excluded(1, usual, None), Some(Excluded::Retired));
        assert_eq!(rules.excluded(2, usual, None), Some(Excluded::PriceStep));
        // Twice the usual price is still within a step of 2; an unknown usual price limits nothing.
        assert_eq!(rules.excluded(2, CustomerFacts { usual_price: 1500.0 }, None), None);
        assert_eq!(rules.excluded(2, CustomerFacts { usual_price: 0.0 }, None), None);
    }

    #[test]
    fn a_package_is_active_until_its_validity_has_run_out() {
        let (rules, usual) = (rules(), CustomerFacts { usual_price: 1000.0 });
        assert_eq!(rules.excluded(0, usual, Some(71)), Some(Excluded::Active));
        assert_eq!(rules.excluded(0, usual, Some(70)), None);
    }
}
