//! What is chosen and what is left out: whole families, counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lvs_agent::metrics::{Format, Part, Selection, SeriesGroup, encode_selected};
use lvs_agent::model::View;

use crate::parsed::{Family, by_name, parse};
use crate::views;

fn families(view: View, selection: &Selection) -> BTreeMap<String, Family> {
    let mut text = String::new();
    encode_selected(&Arc::new(view), &views::machinery(), Format::OpenMetrics, selection, &mut text)
        .expect("a string takes everything");
    by_name(parse(&text))
}

fn at_most(max_series: usize) -> Selection {
    let mut selection = Selection::default();
    selection.max_series = max_series;
    selection
}

fn series(families: &BTreeMap<String, Family>) -> usize {
    families.values().map(|family| family.samples.len()).sum()
}

fn dropped(families: &BTreeMap<String, Family>) -> BTreeMap<String, usize> {
    let rows = families["lvs_agent_series_dropped"].samples.iter();
    let group = |row: &crate::parsed::Sample| row.label("group").expect("a group").to_owned();
    rows.map(|row| (group(row), row.value.parse().expect("a count"))).collect()
}

#[test]
fn whole_groups_go_in_their_order_until_the_rest_is_within_the_limit() {
    for view in [views::rich(), views::twins(9, 5)] {
        let all = families(view.clone(), &Selection::default());
        let whole = series(&all);
        assert_eq!(dropped(&all).values().sum::<usize>(), 0);
        assert_eq!(series(&families(view.clone(), &at_most(whole))), whole, "the limit is what may be there");
        let mut limit = whole;
        for (gone, group) in SeriesGroup::ALL.into_iter().enumerate() {
            // One less than what is there now: exactly the next group has to go.
            let left = families(view.clone(), &at_most(limit - 1));
            let by_group = dropped(&left);
            let dropped_now: Vec<&str> =
                SeriesGroup::ALL.iter().map(|g| g.as_str()).filter(|g| by_group[*g] > 0).collect();
            let expected: Vec<&str> = SeriesGroup::ALL[..=gone].iter().map(|g| g.as_str()).collect();
            assert_eq!(dropped_now, expected);
            assert_eq!(
                series(&left) + by_group.values().sum::<usize>(),
                whole,
                "{group}: nothing is lost uncounted"
            );
            for (name, family) in &left {
                assert_eq!(family.samples.len(), all[name].samples.len(), "{name} is whole");
            }
            limit = series(&left);
        }
        let least = families(view, &at_most(0));
        assert_eq!(series(&least), limit, "what is bounded by itself stays");
        for name in ["ipvs_up", "lvs_director_active", "lvs_agent_mode", "process_open_fds"] {
            assert!(least.contains_key(name), "{name}");
        }
    }
}

/// The estimate that spares a scrape the counting is never too low: a limit of just less than what there
/// is bites at every size.
#[test]
fn no_view_slips_past_the_limit() {
    for view in [views::rich(), views::stale(), views::proc_only(), views::twins(1, 0), views::twins(30, 8)] {
        let whole = series(&families(view.clone(), &Selection::default()));
        for limit in [whole - 1, whole / 2, whole / 3] {
            let left = families(view.clone(), &at_most(limit));
            let left_out: usize = dropped(&left).values().sum();
            assert!(left_out > 0, "{whole} series against a limit of {limit}");
        }
    }
}

#[test]
fn every_family_is_in_one_part() {
    let all = families(views::rich(), &Selection::default());
    let mut seen = BTreeSet::new();
    for part in Part::ALL {
        let mut only = Selection::default();
        only.keep_only(&[part].into());
        let (mut without, chosen) = (Selection::default(), families(views::rich(), &only));
        without.exclude(part);
        let rest = families(views::rich(), &without);
        assert!(!chosen.is_empty(), "{part}");
        for name in chosen.keys() {
            assert!(seen.insert(name.clone()), "{name} is in two parts");
            assert!(!rest.contains_key(name), "{name} is there without {part}");
        }
        assert_eq!(chosen.len() + rest.len(), all.len(), "{part}");
    }
    assert_eq!(seen, all.keys().cloned().collect());
    let mut traffic = Selection::default();
    traffic.keep_only(&[Part::RealServerTraffic].into());
    let traffic: Vec<String> = families(views::rich(), &traffic).into_keys().collect();
    assert_eq!(traffic.len(), 5, "{traffic:?}");
}

#[test]
fn a_late_view_says_so_and_shows_what_there_is() {
    let late = families(View { overdue: true, ..views::rich() }, &Selection::default());
    let of = |collector: &str| {
        let mut rows = late["lvs_agent_collector_success"].samples.iter();
        rows.find(|row| row.label("collector") == Some(collector)).map(|row| row.value.clone())
    };
    assert_eq!((of("ipvs").as_deref(), of("addresses").as_deref()), (Some("0"), Some("1")));
    assert!(!late["ipvs_real_server_weight"].samples.is_empty());
}
