//! From one dashboard to another, with what was chosen.

use serde_json::{Value, json};

use super::{Board, Variable};

#[derive(Clone, Copy)]
pub enum Link {
    Overview,
    VirtualServer,
    RealServer,
    Director,
    Checks,
}

/// Where a link's values stand.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// The variables alone.
    Head,
    /// The columns of a table's row.
    Row(&'a [&'a str]),
    /// The labels of a series.
    Series(&'a [&'a str]),
}

impl Link {
    pub const ALL: [Link; 5] =
        [Link::Overview, Link::VirtualServer, Link::RealServer, Link::Director, Link::Checks];

    pub fn uid(self) -> &'static str {
        match self {
            Link::Overview => "lvs-overview",
            Link::VirtualServer => "lvs-virtual-server",
            Link::RealServer => "lvs-real-server",
            Link::Director => "lvs-director",
            Link::Checks => "lvs-checks",
        }
    }

    /// As Grafana makes it of the title.
    fn slug(self) -> &'static str {
        match self {
            Link::Overview => "lvs-fleet-overview",
            Link::VirtualServer => "lvs-virtual-server",
            Link::RealServer => "lvs-real-server",
            Link::Director => "lvs-director-and-agent",
            Link::Checks => "lvs-checks-and-decisions",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Link::Overview => "Fleet overview",
            Link::VirtualServer => "Virtual server",
            Link::RealServer => "Real server",
            Link::Director => "Director and agent",
            Link::Checks => "Checks and decisions",
        }
    }

    fn variables(self) -> &'static [Variable] {
        match self {
            Link::Overview => super::overview::VARIABLES,
            Link::VirtualServer => super::virtual_server::VARIABLES,
            Link::RealServer => super::real_server::VARIABLES,
            Link::Director => super::director::VARIABLES,
            Link::Checks => super::checks::VARIABLES,
        }
    }

    /// Each variable of the target: from the row or series if that names it, else as it is chosen here.
    fn url(self, board: &Board, from: Source<'_>) -> String {
        let mut parts = vec!["${datasource:queryparam}".to_owned()];
        for variable in self.variables() {
            let label = variable.label;
            match from {
                Source::Row(labels) if labels.contains(&label) => {
                    parts.push(format!("var-{label}=${{__data.fields.{label}:percentencode}}"));
                }
                Source::Series(labels) if labels.contains(&label) => {
                    parts.push(format!("var-{label}=${{__field.labels.{label}:percentencode}}"));
                }
                Source::Head | Source::Row(_) | Source::Series(_) if board.has(label) => {
                    parts.push(format!("${{{label}:queryparam}}"));
                }
                Source::Head | Source::Row(_) | Source::Series(_) => {}
            }
        }
        // Those of the head have `keepTime` for it.
        if !matches!(from, Source::Head) {
            parts.push("${__url_time_range}".to_owned());
        }
        format!("/d/{}/{}?{}", self.uid(), self.slug(), parts.join("&"))
    }

    pub fn of_head(self, board: &Board) -> Value {
        json!({
            "asDropdown": false,
            "icon": "dashboard",
            "includeVars": false,
            "keepTime": true,
            "tags": [],
            "targetBlank": false,
            "title": self.title(),
            "tooltip": "",
            "type": "link",
            "url": self.url(board, Source::Head),
        })
    }

    pub fn of_data(self, board: &Board, from: Source<'_>) -> Value {
        json!({ "targetBlank": false, "title": self.title(), "url": self.url(board, from) })
    }

    /// The dashboard about the narrowest thing that these labels name, unless that is this one.
    pub fn about(labels: &[&str], board: &Board) -> Option<Link> {
        let about = [
            ("real_server", Link::RealServer),
            ("virtual_server", Link::VirtualServer),
            ("instance", Link::Director),
        ];
        let others = about.into_iter().filter(|(_, link)| link.uid() != board.uid);
        others.into_iter().find(|(label, _)| labels.contains(label)).map(|(_, link)| link)
    }
}
