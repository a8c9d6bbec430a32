//! deploy/grafana: that Grafana would find what it needs where the files say it is. No Grafana was there to ask; the keys
//! are those of its provisioning (`apiVersion: 1`).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::dashboards::all;
use crate::layout::text;
use crate::{files, read, root};

const README: &str = "deploy/grafana/README.md";
const DATASOURCES: &str = "deploy/grafana/provisioning/datasources";
const DASHBOARDS: &str = "deploy/grafana/provisioning/dashboards";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Providers {
    api_version: u8,
    providers: Vec<Provider>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Provider {
    name: String,
    org_id: u64,
    #[serde(rename = "type")]
    kind: String,
    folder: String,
    folder_uid: String,
    disable_deletion: bool,
    allow_ui_updates: bool,
    update_interval_seconds: u64,
    options: ProviderOptions,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProviderOptions {
    path: String,
    folders_from_files_structure: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Datasources {
    api_version: u8,
    datasources: Vec<Datasource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Datasource {
    name: String,
    uid: String,
    #[serde(rename = "type")]
    kind: String,
    access: String,
    url: String,
    is_default: bool,
    editable: bool,
    json_data: JsonData,
}

/// Those of Grafana's Prometheus data source.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonData {
    http_method: String,
    time_interval: String,
}

fn only<T: for<'a> Deserialize<'a>>(directory: &str) -> T {
    let found = files(directory, "yaml");
    let [file] = &found[..] else { panic!("{directory}: {found:?}") };
    let text = read(file);
    // Grafana takes $NAME for a variable of its environment.
    assert!(!text.contains('$'), "{}", file.display());
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn provider() -> Provider {
    let Providers { api_version, providers } = only(DASHBOARDS);
    assert_eq!((api_version, providers.len()), (1, 1));
    providers.into_iter().next().expect("one")
}

fn datasource() -> Datasource {
    let Datasources { api_version, datasources } = only(DATASOURCES);
    assert_eq!((api_version, datasources.len()), (1, 1));
    datasources.into_iter().next().expect("one")
}

fn is_uid(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

#[test]
fn the_provider_keeps_to_the_files() {
    let provider = provider();
    assert_eq!((provider.name.as_str(), provider.org_id, provider.kind.as_str()), ("lvs-agent", 1, "file"));
    assert_eq!(provider.folder, "LVS");
    assert!(is_uid(&provider.folder_uid), "{}", provider.folder_uid);
    let uids: BTreeSet<String> = all().iter().map(|dashboard| dashboard.uid().to_owned()).collect();
    assert!(!uids.contains(&provider.folder_uid), "folders and dashboards share one name space");
    assert!(provider.disable_deletion && !provider.allow_ui_updates, "the files are the source of truth");
    let said = format!("Grafana looks every {} seconds", provider.update_interval_seconds);
    assert!(read(&root().join(README)).contains(&said), "{said}");
    assert!(Path::new(&provider.options.path).is_absolute());
    assert!(!provider.options.folders_from_files_structure, "it excludes `folder`");
}

/// The dashboards have no data source of their own: they take one of this type, by the variable `datasource`.
#[test]
fn the_data_source_is_one_that_the_dashboards_take() {
    let datasource = datasource();
    assert!(is_uid(&datasource.uid) && !datasource.name.is_empty());
    assert_eq!(
        (datasource.access.as_str(), datasource.editable, datasource.is_default),
        ("proxy", false, false)
    );
    assert!(datasource.url.starts_with("http://127.0.0.1:9090"), "{}", datasource.url);
    for dashboard in all() {
        let variable = &dashboard.list("/templating/list")[0];
        let chosen = (text(variable, "name"), text(variable, "type"), text(variable, "query"));
        assert_eq!(chosen, ("datasource", "datasource", datasource.kind.as_str()), "{}", dashboard.name);
        assert_eq!(
            (text(variable, "regex"), &variable["current"]),
            ("", &Value::from(serde_json::Map::new()))
        );
        let mut sources = Vec::new();
        collect(&dashboard.json, &mut sources);
        assert!(sources.len() > 10, "{}: {}", dashboard.name, sources.len());
        for source in sources {
            let built_in = source["uid"] == "-- Grafana --" && source["type"] == "grafana";
            let chosen = source["uid"] == "${datasource}" && source["type"] == *datasource.kind;
            assert!(built_in || chosen, "{}: {source}", dashboard.name);
        }
    }
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("datasource").filter(|source| source.is_object()));
            members.values().for_each(|member| collect(member, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

#[derive(Debug, Deserialize)]
struct Prometheus {
    global: Global,
}

#[derive(Debug, Deserialize)]
struct Global {
    scrape_interval: String,
}

/// `$__rate_interval` is at least four of these: taken for less than it is, rates have holes.
#[test]
fn the_interval_is_the_one_that_is_scraped_at() {
    let prometheus: Prometheus =
        serde_saphyr::from_str(&read(&root().join("deploy/prometheus.yml"))).expect("deploy/prometheus.yml");
    let JsonData { http_method, time_interval } = datasource().json_data;
    assert_eq!(time_interval, prometheus.global.scrape_interval);
    assert_eq!(http_method, "POST", "a long query is no URL");
}

/// The commands of the readme, below an empty directory, leave the files where Grafana and the provider look.
#[test]
fn the_steps_of_the_readme_bring_the_files_to_their_places() {
    let readme = read(&root().join(README));
    let block = readme.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let below = tempfile::tempdir().expect("a directory");
    let at = |path: &str| below.path().join(path.trim_start_matches('/'));
    let (restarts, steps): (Vec<&str>, Vec<&str>) =
        block.lines().partition(|line| line.starts_with("systemctl "));
    assert_eq!(restarts, ["systemctl restart grafana-server"]);
    let mut script = steps.join("\n");
    for top in ["/etc/", "/var/"] {
        script = script.replace(&format!(" {top}"), &format!(" {}", at(top).display().to_string() + "/"));
    }
    let ran = Command::new("sh").args(["-euc", &script]).current_dir(root()).output().expect("sh");
    assert!(ran.status.success(), "{script}\n{}", String::from_utf8_lossy(&ran.stderr));

    let shown = at(&provider().options.path);
    for dashboard in all() {
        let name = format!("{}.json", dashboard.name);
        assert_eq!(read(&shown.join(&name)), read(&root().join("dashboards").join(&name)));
    }
    assert_eq!(std::fs::read_dir(&shown).expect("a directory").count(), all().len());
    for (from, to) in [
        (DATASOURCES, "/etc/grafana/provisioning/datasources"),
        (DASHBOARDS, "/etc/grafana/provisioning/dashboards"),
    ] {
        let file = "lvs-agent.yaml";
        assert_eq!(read(&at(to).join(file)), read(&root().join(from).join(file)));
    }
}
