//! Which labels the rows of a query have and in which unit, followed from the metrics upwards: what a template may name, and whether two
//! sides can match at all. promtool runs into the same only where a test happens to have such rows.

use std::collections::BTreeSet;

use lvs_agent::metrics::Unit;
use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::token::T_COUNT_VALUES;
use promql_parser::parser::{
    AggregateExpr, BinModifier, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, parse,
};

use crate::catalogue;
use crate::rules::RECORDS;

type Labels = BTreeSet<String>;

/// Stands for whatever labels a scrape configuration gives its targets beside `job` and `instance`: a site, a cluster.
pub const OF_THE_TARGET: &str = "site";

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Scalar,
    Rows(Rows),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub labels: Labels,
    /// Of these, those that have one value in all rows.
    fixed: Labels,
    pub unit: Unit,
}

impl Rows {
    /// What tells two rows of one cluster apart.
    fn telling(&self) -> Labels {
        let one = |label: &&String| *label != OF_THE_TARGET && !self.fixed.contains(*label);
        self.labels.iter().filter(one).cloned().collect()
    }
}

/// What is wrong, in words.
pub type Fault = String;

pub fn ast(text: &str) -> Expr {
    parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

pub fn of_query(text: &str) -> Result<Value, Fault> {
    of(&ast(text))
}

fn of(expr: &Expr) -> Result<Value, Fault> {
    match expr {
        Expr::Paren(inner) => of(&inner.expr),
        Expr::Unary(inner) => of(&inner.expr),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Value::Scalar),
        Expr::VectorSelector(selector) => selected(selector.name.as_deref(), &selector.matchers),
        Expr::MatrixSelector(selector) => selected(selector.vs.name.as_deref(), &selector.vs.matchers),
        Expr::Call(call) => of_call(call),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate),
        Expr::Binary(binary) => of_binary(binary),
        Expr::Subquery(_) => Err("a subquery: a recording rule does the same and is computed once".into()),
        Expr::Extension(_) => Err("no PromQL".into()),
    }
}

fn rows(expr: &Expr) -> Result<Rows, Fault> {
    match of(expr)? {
        Value::Rows(rows) => Ok(rows),
        Value::Scalar => Err(format!("{expr} has no rows")),
    }
}

fn selected(name: Option<&str>, matchers: &Matchers) -> Result<Value, Fault> {
    let name = name.ok_or("a selector without a name")?;
    if let Some(record) = RECORDS.iter().find(|record| record.name == name) {
        return of_query(&record.expr);
    }
    let labels = catalogue::scraped(name).ok_or_else(|| format!("{name} is not in the catalogue"))?;
    let entry = catalogue::entry(name);
    let equal = matchers.matchers.iter().filter(|m| m.op == MatchOp::Equal);
    let labels = labels.into_iter().chain([OF_THE_TARGET]).map(str::to_owned).collect();
    let fixed = equal.map(|m| m.name.clone()).collect();
    // The unit of a histogram is that of its quantiles.
    let unit = entry.map_or(Unit::One, |metric| metric.unit);
    Ok(Value::Rows(Rows { labels, fixed, unit }))
}

fn of_call(call: &Call) -> Result<Value, Fault> {
    let argument = |at: usize| call.args.args.get(at).ok_or_else(|| format!("{call}: too few arguments"));
    match call.func.name {
        "time" => Ok(Value::Scalar),
        "vector" => Ok(Value::Rows(Rows { labels: Labels::new(), fixed: Labels::new(), unit: Unit::One })),
        "absent" => {
            let of_what = rows(argument(0)?)?;
            Ok(Value::Rows(Rows { labels: of_what.fixed.clone(), fixed: of_what.fixed, unit: Unit::One }))
        }
        "histogram_quantile" => {
            let mut buckets = rows(argument(1)?)?;
            let had = buckets.labels.remove("le");
            if had { Ok(Value::Rows(buckets)) } else { Err(format!("{call}: its rows have lost le")) }
        }
        "rate" => {
            let counter = rows(argument(0)?)?;
            // Seconds in a second are a share; a histogram's buckets keep the unit of its bounds.
            let bucket = counter.labels.contains("le");
            let unit = if counter.unit == Unit::Seconds && !bucket { Unit::Ratio } else { counter.unit };
            Ok(Value::Rows(Rows { unit, ..counter }))
        }
        "increase" | "last_over_time" | "min_over_time" | "max_over_time" | "avg_over_time"
        | "sum_over_time" | "clamp_min" | "clamp_max" => of(argument(0)?),
        "quantile_over_time" => of(argument(1)?),
        "changes" => Ok(Value::Rows(Rows { unit: Unit::One, ..rows(argument(0)?)? })),
        other => Err(format!("{other}() is not known here: say in flow.rs what it does to labels")),
    }
}

fn of_aggregate(aggregate: &AggregateExpr) -> Result<Value, Fault> {
    let inner = rows(&aggregate.expr)?;
    let operation = aggregate.op.to_string();
    if ["topk", "bottomk"].contains(&operation.as_str()) {
        return Err(format!("{operation}: its rows come and go with the order, and `for` starts anew"));
    }
    let named: Labels = aggregate.modifier.iter().flat_map(|m| m.labels().labels.clone()).collect();
    if let Some(label) = named.iter().find(|label| !inner.labels.contains(*label)) {
        return Err(format!("{operation}: its rows have no label {label}"));
    }
    let mut labels: Labels = match &aggregate.modifier {
        Some(LabelModifier::Include(_)) => named,
        Some(LabelModifier::Exclude(_)) => inner.labels.difference(&named).cloned().collect(),
        None => Labels::new(),
    };
    if aggregate.op.id() == T_COUNT_VALUES {
        match aggregate.param.as_deref() {
            Some(Expr::StringLiteral(label)) => labels.insert(label.val.clone()),
            Some(_) | None => return Err("count_values without a label".into()),
        };
    }
    let counts = ["count", "count_values"].contains(&operation.as_str());
    let unit = if counts { Unit::One } else { inner.unit };
    let fixed = inner.fixed.intersection(&labels).cloned().collect();
    Ok(Value::Rows(Rows { labels, fixed, unit }))
}

fn of_binary(binary: &BinaryExpr) -> Result<Value, Fault> {
    let (left, right) = match (of(&binary.lhs)?, of(&binary.rhs)?) {
        (Value::Scalar, Value::Scalar) => return Ok(Value::Scalar),
        (Value::Rows(rows), Value::Scalar) | (Value::Scalar, Value::Rows(rows)) => {
            return Ok(Value::Rows(rows));
        }
        (Value::Rows(left), Value::Rows(right)) => (left, right),
    };
    let operator = binary.op.to_string();
    let default = BinModifier::default();
    let modifier = binary.modifier.as_ref().unwrap_or(&default);
    let on = matched(&operator, modifier.matching.as_ref(), &left, &right)?;
    let rows = match &modifier.card {
        VectorMatchCardinality::ManyToMany if operator == "or" => {
            let labels: Labels = left.labels.intersection(&right.labels).cloned().collect();
            let fixed = left.fixed.intersection(&right.fixed).cloned().collect();
            Rows { labels, fixed, unit: left.unit }
        }
        VectorMatchCardinality::ManyToMany => left,
        VectorMatchCardinality::OneToOne => {
            single(&operator, "left", &left, &on)?;
            single(&operator, "right", &right, &on)?;
            let kept: Labels = left.labels.intersection(&on).cloned().collect();
            Rows { labels: kept, unit: quotient(&operator, left.unit, right.unit), fixed: left.fixed }
        }
        VectorMatchCardinality::ManyToOne(included) => {
            single(&operator, "right", &right, &on)?;
            let labels = left.labels.iter().chain(&included.labels).cloned().collect();
            Rows { labels, unit: quotient(&operator, left.unit, right.unit), fixed: left.fixed }
        }
        VectorMatchCardinality::OneToMany(_) => {
            return Err("group_right: turn it round, the left side is the one that is told".into());
        }
    };
    Ok(Value::Rows(rows))
}

/// The labels by which the two sides are matched.
fn matched(operator: &str, how: Option<&LabelModifier>, left: &Rows, right: &Rows) -> Result<Labels, Fault> {
    if let Some(LabelModifier::Include(on)) = how {
        let missing = |label: &&String| !left.labels.contains(*label) || !right.labels.contains(*label);
        return match on.labels.iter().find(missing) {
            Some(label) => Err(format!("{operator} on ({label}): one side has no such label")),
            None => Ok(on.labels.iter().cloned().collect()),
        };
    }
    let ignored: Labels = how.iter().flat_map(|m| m.labels().labels.clone()).collect();
    let of = |rows: &Rows| -> Labels { rows.labels.difference(&ignored).cloned().collect() };
    let (of_left, of_right) = (of(left), of(right));
    match of_left.symmetric_difference(&of_right).next() {
        Some(label) => Err(format!("{operator}: only one side has the label {label}, so nothing matches")),
        None => Ok(of_left),
    }
}

/// That a side has one row for each group, without which Prometheus gives an error instead of a value.
fn single(operator: &str, side: &str, rows: &Rows, on: &Labels) -> Result<(), Fault> {
    match rows.telling().difference(on).next() {
        Some(label) => {
            Err(format!("{operator}: rows of the {side} side differ by {label}, which is not matched"))
        }
        None => Ok(()),
    }
}

fn quotient(operator: &str, left: Unit, right: Unit) -> Unit {
    match (operator, left == right) {
        ("/", true) => Unit::Ratio,
        ("/", false) => Unit::One,
        _ => left,
    }
}

#[test]
fn labels_are_followed() {
    let of = |text: &str| match of_query(text) {
        Ok(Value::Rows(rows)) => rows.labels.into_iter().collect::<Vec<_>>().join(" "),
        Ok(Value::Scalar) => "a number".into(),
        Err(fault) => fault,
    };
    assert_eq!(of("1 + 2"), "a number");
    assert_eq!(of("ipvs_up == 0"), "instance job site");
    assert_eq!(of("sum by (job) (ipvs_up)"), "job");
    assert_eq!(of("sum without (site) (ipvs_up)"), "instance job");
    assert_eq!(of("sum without (vip) (ipvs_up)"), "sum: its rows have no label vip");
    assert_eq!(of("absent(up{job=\"x\"})"), "job");
    assert_eq!(
        of("lvs_real_server_up == on (job) ipvs_up"),
        "==: rows of the left side differ by instance, which is not matched"
    );
    assert_eq!(
        of("lvs_real_server_up == ipvs_up"),
        "==: only one side has the label real_server, so nothing matches"
    );
    assert_eq!(
        of("lvs_real_server_up == on (job, instance) group_left () ipvs_up"),
        "instance job real_server site virtual_server"
    );
    assert_eq!(of("ipvs_up == on (job, instance) lvs_agent_mode{mode=\"observe\"}"), "instance job");
    assert_eq!(of("ipvs_up and on (reason) up"), "and on (reason): one side has no such label");
    assert_eq!(
        of("histogram_quantile(0.9, sum by (job) (lvs_check_duration_seconds_bucket))"),
        "histogram_quantile(0.9, sum by (job) (lvs_check_duration_seconds_bucket)): its rows have lost le"
    );
    assert_eq!(of("ipvs_up or on (job) lvs_real_server_up"), "instance job site");
    assert_eq!(of("count_values without (instance) (\"x\", ipvs_up)"), "job site x");
    assert!(of("topk(3, ipvs_up)").starts_with("topk: "), "{}", of("topk(3, ipvs_up)"));
    assert!(of("max_over_time(ipvs_up[5m:1m])").starts_with("a subquery"));
}
