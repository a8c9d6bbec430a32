//! deploy/alertmanager.yml: that each alert reaches whom it is for, and what holds back what, asked of Alertmanager itself.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lvs_agent::os::Clock;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::flow;
use crate::rules::{RULES, Rule};
use crate::{read, root};

const FILE: &str = "deploy/alertmanager.yml";
/// For Alertmanager to start and to take some alerts, on a machine where much else is going on.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Who holds back whom, for the same what.
const PAIRS: &[(&[&str], &[&str], &[&str])] = &[
    (
        &["IpvsAgentDown", "IpvsKernelUnreadable"],
        &[
            "IpvsRealServersDown",
            "IpvsRealServerFlapping",
            "IpvsCheckFailureBudgetBurn",
            "IpvsCheckLatencyNearTimeout",
            "IpvsWeightDrift",
            "IpvsChecksStale",
            "IpvsProbeSchedulerLagging",
        ],
        &["job", "instance"],
    ),
    (&["IpvsAgentDown"], &["IpvsNoActiveDirector"], &["job"]),
    (&["IpvsDirectorFailover"], &["IpvsDirectorsDisagree", "IpvsSyncDaemonMissing"], &["job"]),
    (&["IpvsStatsFrozen"], &["IpvsRealServerNoReplies"], &["job", "instance"]),
    (&["IpvsStatsFrozen"], &["IpvsVirtualServerNoTraffic"], &["job"]),
    (
        &["IpvsVirtualServerDown"],
        &["IpvsVirtualServerCapacityLow", "IpvsVirtualServerDegraded", "IpvsRealServersDown"],
        &["job", "virtual_server"],
    ),
    (&["IpvsFloorReached"], &["IpvsVirtualServerCapacityLow"], &["job", "virtual_server"]),
    (&["IpvsVirtualServerCapacityLow"], &["IpvsVirtualServerDegraded"], &["job", "virtual_server"]),
    (&["IpvsRealServersDown"], &["IpvsCheckFailureBudgetBurn"], &["job", "virtual_server"]),
    (&["IpvsTlsCertificateExpiresCritical"], &["IpvsTlsCertificateExpiresSoon"], &["job", "virtual_server"]),
];

fn amtool(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("amtool").current_dir(root()).args(arguments).output().expect(
        "amtool cannot be run; Debian's package `prometheus-alertmanager` brings it (apt-get install prometheus-alertmanager)",
    );
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

fn rule(alert: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.alert == alert).unwrap_or_else(|| panic!("no alert {alert}"))
}

/// As it arrives: the rule's own labels, and those of its rows.
fn labels(rule: &Rule) -> BTreeSet<String> {
    let Ok(flow::Value::Rows(rows)) = flow::of_query(&rule.expr) else { panic!("{}", rule.alert) };
    rows.labels.into_iter().chain(rule.labels.keys().cloned()).chain(["alertname".to_owned()]).collect()
}

#[test]
fn amtool_takes_the_configuration() {
    amtool(&["check-config", FILE]).unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn each_alert_reaches_whom_it_is_for() {
    let routed = |rule: &Rule, receiver: &str| {
        let own = rule.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let others =
            labels(rule).into_iter().filter(|name| !rule.labels.contains_key(name) && name != "alertname");
        let all: Vec<String> = own
            .chain(others.map(|name| format!("{name}=x")))
            .chain([format!("alertname={}", rule.alert)])
            .collect();
        let file = format!("--config.file={FILE}");
        let verify = format!("--verify.receivers={receiver}");
        let mut arguments = vec!["config", "routes", "test", &file, &verify];
        arguments.extend(all.iter().map(String::as_str));
        amtool(&arguments)
    };
    for rule in RULES.iter() {
        let receiver = match rule.labels["severity"].as_str() {
            "critical" => "oncall",
            "warning" => "ticket",
            "info" => "null",
            "none" => "deadman",
            other => panic!("{}: {other}", rule.alert),
        };
        routed(rule, receiver).unwrap_or_else(|said| panic!("{}: {said}", rule.alert));
    }
    assert!(routed(&RULES[0], "deadman").is_err(), "it says so if it goes elsewhere");
}

#[derive(Debug, Deserialize)]
struct Shipped {
    route: Route,
    inhibit_rules: Vec<Inhibition>,
}

#[derive(Debug, Deserialize)]
struct Route {
    group_by: Vec<String>,
    #[serde(default)]
    routes: Vec<Timing>,
}

#[derive(Debug, Deserialize)]
struct Timing {
    receiver: String,
    group_wait: Option<String>,
    group_interval: Option<String>,
    repeat_interval: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Inhibition {
    source_matchers: Vec<String>,
    target_matchers: Vec<String>,
    equal: Vec<String>,
}

/// The alerts that a matcher names.
fn named(matchers: &[String]) -> BTreeSet<String> {
    let form = Regex::new(r#"^alertname=~?"([A-Za-z|]+)"$"#).expect("a pattern");
    let [matcher] = matchers else { panic!("one matcher, not {matchers:?}") };
    let names = form.captures(matcher).unwrap_or_else(|| panic!("{matcher}: alerts by name"));
    names[1].split('|').map(|name| rule(name).alert.clone()).collect()
}

/// Where a label is missing on both sides it counts as equal, and one cluster's page would silence another's.
#[test]
fn inhibitions_compare_labels_that_both_sides_have() {
    let shipped: Shipped =
        serde_saphyr::from_str(&read(&root().join(FILE))).expect("deploy/alertmanager.yml");
    let found: Vec<_> = shipped
        .inhibit_rules
        .iter()
        .map(|rule| (named(&rule.source_matchers), named(&rule.target_matchers), rule.equal.clone()))
        .collect();
    let owned =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let meant: Vec<_> = PAIRS
        .iter()
        .map(|(from, to, equal)| (owned(from), owned(to), equal.iter().map(|l| (*l).to_owned()).collect()))
        .collect();
    assert_eq!(found, meant);
    for (from, to, equal) in &found {
        for name in from.iter().chain(to) {
            let has = labels(rule(name));
            assert!(equal.iter().all(|label| has.contains(label)), "{name} lacks one of {equal:?}");
        }
        assert!(equal.contains(&"job".to_owned()), "{from:?}: across jobs");
    }
    assert_eq!(shipped.route.group_by, ["alertname", "job", "virtual_server"]);
    let oncall = shipped.route.routes.iter().find(|route| route.receiver == "oncall").expect("a route");
    assert_eq!(oncall.group_wait.as_deref(), Some("10s"), "a page waits no longer");
}

/// A notification goes out with the first look, each group_interval, at which more than repeat_interval has passed since the last was
/// sent, a moment after a look. So with equal ones it is only every second look (the lab measures it).
#[test]
fn the_dead_mans_switch_is_heard_each_minute() {
    let shipped: Shipped =
        serde_saphyr::from_str(&read(&root().join(FILE))).expect("deploy/alertmanager.yml");
    let deadman = shipped.route.routes.iter().find(|route| route.receiver == "deadman").expect("a route");
    let seconds = |time: &Option<String>| crate::rules::seconds(time.as_deref().expect("a time"));
    let (look, repeat) = (seconds(&deadman.group_interval), seconds(&deadman.repeat_interval));
    assert_eq!((repeat / look + 1) * look, 60);
}

/// Each pair in a job of its own: the target is held back by the source, and not by one of another director or virtual server.
#[test]
fn alertmanager_holds_back_what_it_should() {
    let mut alerts = Vec::new();
    let mut held = BTreeSet::new();
    let pairs = PAIRS.iter().flat_map(|(from, to, equal)| {
        from.iter().flat_map(move |from| to.iter().map(move |to| (*from, *to, *equal)))
    });
    for (at, (from, to, equal)) in pairs.enumerate() {
        let job = format!("job-{at}");
        let alert = |name: &str, id: &str, other: Option<&str>| {
            let mut all = json!({"alertname": name, "id": id});
            for label in labels(rule(name)).iter().filter(|label| label.as_str() != "alertname") {
                let value = if label == "job" { &job } else { "x" };
                all[label] =
                    if other == Some(label) { format!("{value}-other").into() } else { value.into() };
            }
            json!({"labels": all})
        };
        alerts.push(alert(from, &format!("{at} source"), None));
        alerts.push(alert(to, &format!("{at} target"), None));
        held.insert(format!("{at} target"));
        for label in equal {
            alerts.push(alert(to, &format!("{at} other {label}"), Some(label)));
        }
    }
    let clock = Clock::start();
    let alertmanager = Alertmanager::start();
    let posted = alertmanager.request("POST", &Value::from(alerts.clone()).to_string());
    assert!(posted.contains(" 200 OK"), "{posted}");
    let until = clock.now().mono + DEADLINE;
    loop {
        let found = alertmanager.held(alerts.len());
        if found.as_ref() == Some(&held) {
            return;
        }
        assert!(clock.now().mono < until, "held back are {found:?}, not {held:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

struct Alertmanager {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Alertmanager {
    /// With the shipped configuration, but that nothing leaves the machine.
    fn start() -> Alertmanager {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("alertmanager.yml");
        let addresses = Regex::new("url: https://.*").expect("a pattern");
        let text = read(&root().join(FILE));
        std::fs::write(&file, addresses.replace_all(&text, "url: http://127.0.0.1:9/").as_bytes())
            .expect("the file");
        let mut child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", directory.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus-alertmanager cannot be run; Debian's package of that name brings it");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let listening = Regex::new(r#""?Listening on"? address=(\S+)"#).expect("a pattern");
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("it ended: {said:#?}") };
            if let Some(found) = listening.captures(&line) {
                break found[1].parse().expect("an address");
            }
            said.push(line);
        };
        // Its log goes on; a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Alertmanager { child, address, _directory: directory }
    }

    fn request(&self, method: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/json";
        write!(
            stream,
            "{method} /api/v2/alerts HTTP/1.0\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in UTF-8");
        answer
    }

    /// The ids of the alerts that are held back; `None` until it knows so many alerts.
    fn held(&self, number: usize) -> Option<BTreeSet<String>> {
        let answer = self.request("GET", "");
        let (_, rest) = answer.split_once("\r\n\r\n")?;
        let json = &rest[rest.find('[')?..=rest.rfind(']')?];
        let alerts: Vec<Value> = serde_json::from_str(&json.replace("\r\n", "")).ok()?;
        let inhibited =
            |alert: &&Value| alert["status"]["inhibitedBy"].as_array().is_some_and(|by| !by.is_empty());
        let id = |alert: &Value| alert["labels"]["id"].as_str().map(str::to_owned);
        (alerts.len() == number).then(|| alerts.iter().filter(inhibited).filter_map(id).collect())
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
