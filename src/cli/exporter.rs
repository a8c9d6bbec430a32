//! What `run` exports, and what of it its flags leave out.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::metrics::{self, Format, Machinery, Part, Selection};
use crate::model::{View, words};
use crate::web::Exposition;

/// Some 80,000 real servers: 200 MB of text.
pub const MAX_SERIES: usize = 2_000_000;

words! {
    Switch {
        On = "on",
        Off = "off",
    }
}

#[derive(Debug, Clone, clap::Args)]
pub struct ExporterArgs {
    /// TLS, client certificates and passwords for the TCP listeners, in the format that Prometheus's exporters share
    #[arg(long = "web.config.file", value_name = "FILE", env = "LVS_AGENT_WEB_CONFIG_FILE")]
    pub web_config: Option<PathBuf>,
    /// More series than this in one scrape lose whole groups, and lvs_agent_series_dropped says which; 0 is no limit
    #[arg(long = "metrics.max-series", value_name = "N", env = "LVS_AGENT_METRICS_MAX_SERIES", default_value_t = MAX_SERIES)]
    pub max_series: usize,
    /// The traffic counters of single real servers, a fifth of all series: on or off
    #[arg(long = "collector.real-server-traffic", value_name = "SWITCH", env = "LVS_AGENT_COLLECTOR_REAL_SERVER_TRAFFIC",
          default_value = "on", value_parser = switch)]
    pub real_server_traffic: Switch,
}

impl Default for ExporterArgs {
    fn default() -> ExporterArgs {
        ExporterArgs { web_config: None, max_series: MAX_SERIES, real_server_traffic: Switch::On }
    }
}

fn switch(text: &str) -> Result<Switch, String> {
    Switch::from_word(text).ok_or_else(|| "it is `on` or `off`".to_owned())
}

/// Metrics for the web server.
pub(super) struct Exporter {
    machinery: Machinery,
    selection: Selection,
}

impl Exporter {
    pub(super) fn new(machinery: Machinery, args: &ExporterArgs) -> Exporter {
        let mut selection = Selection::default();
        if args.max_series > 0 {
            selection.max_series = args.max_series;
        }
        match args.real_server_traffic {
            Switch::On => {}
            Switch::Off => selection.exclude(Part::RealServerTraffic),
        }
        Exporter { machinery, selection }
    }
}

impl Exposition for Exporter {
    fn encode(
        &self,
        view: &Arc<View>,
        format: Format,
        selection: &Selection,
        out: &mut dyn fmt::Write,
    ) -> Result<(), String> {
        let selection = self.selection.and(selection);
        metrics::encode_selected(view, &self.machinery, format, &selection, out).map_err(|e| e.to_string())
    }

    fn request_started(&self) {
        self.machinery.http_requests_in_flight().inc();
    }

    fn request_ended(&self) {
        self.machinery.http_requests_in_flight().dec();
    }
}
