//! Every key of the configuration, once: the messages about keys and values quote these texts, and
//! a test compares docs/configuration.md with them.

use crate::model::words;

words! {
    /// The words of a check's `type`.
    CheckType {
        Tcp = "tcp",
        Tls = "tls",
        Http = "http",
        Https = "https",
        Grpc = "grpc",
        Grpcs = "grpcs",
        Dns = "dns",
        Agent = "agent",
        Smtp = "smtp",
        Redis = "redis",
        Mysql = "mysql",
        Postgres = "postgres",
    }
}

/// Types that other versions of the configuration format have and this one does not.
pub(super) const LATER_TYPES: &[&str] = &["path"];

/// A table of the configuration.
#[derive(Debug)]
pub struct Section {
    /// As it is written: `[check.NAME]`.
    pub title: &'static str,
    pub keys: &'static [Key],
    /// Keys of the format that this version does not have.
    pub later: &'static [&'static str],
}

/// A key of a section.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// What may be written, so that "write …" makes a sentence.
    pub form: &'static str,
    pub default: Fallback,
    /// The check types that have it; empty: all.
    pub only: &'static [CheckType],
}

/// What holds where a key is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It must be written.
    Required,
    /// As if this had been written (TOML).
    Value(&'static str),
    /// In words.
    Otherwise(&'static str),
}

use Fallback::{Otherwise, Required, Value};

const fn key(name: &'static str, form: &'static str, default: Fallback) -> Key {
    Key { name, form, default, only: &[] }
}

const fn http(name: &'static str, form: &'static str, default: Fallback) -> Key {
    Key { name, form, default, only: &[CheckType::Http, CheckType::Https] }
}

const fn tcp(name: &'static str, form: &'static str, default: Fallback) -> Key {
    Key { name, form, default, only: &[CheckType::Tcp] }
}

const fn dns(name: &'static str, form: &'static str, default: Fallback) -> Key {
    Key { name, form, default, only: &[CheckType::Dns] }
}

/// What can be sent to over plain TCP.
const fn spoken_to(name: &'static str, form: &'static str, default: Fallback) -> Key {
    Key { name, form, default, only: &[CheckType::Tcp, CheckType::Agent] }
}

/// What begins with a TCP connection.
const fn connected(name: &'static str, form: &'static str, default: Fallback) -> Key {
    use CheckType::{Agent, Grpc, Grpcs, Http, Https, Mysql, Postgres, Redis, Smtp, Tcp, Tls};
    Key {
        name,
        form,
        default,
        only: &[Tcp, Tls, Http, Https, Grpc, Grpcs, Agent, Smtp, Redis, Mysql, Postgres],
    }
}

/// What a server would keep open.
const fn stays(name: &'static str, form: &'static str, default: Fallback) -> Key {
    use CheckType::{Grpc, Grpcs, Http, Https, Mysql, Postgres, Redis, Smtp, Tcp, Tls};
    Key { name, form, default, only: &[Tcp, Tls, Http, Https, Grpc, Grpcs, Smtp, Redis, Mysql, Postgres] }
}

const fn tls(name: &'static str, form: &'static str, default: Fallback) -> Key {
    Key { name, form, default, only: &[CheckType::Tls, CheckType::Https, CheckType::Grpcs] }
}

const fn grpc(name: &'static str, form: &'static str, default: Fallback) -> Key {
    Key { name, form, default, only: &[CheckType::Grpc, CheckType::Grpcs] }
}

/// What asks a host for something.
const fn hosted(name: &'static str, form: &'static str, default: Fallback) -> Key {
    use CheckType::{Grpc, Grpcs, Http, Https};
    Key { name, form, default, only: &[Http, Https, Grpc, Grpcs] }
}

const TYPE: &str = "\"tcp\", \"tls\", \"http\", \"https\", \"grpc\", \"grpcs\", \"dns\", \"agent\", \"smtp\", \"redis\", \"mysql\" or \"postgres\"";
const RCODE: &str = "\"NOERROR\", \"FORMERR\", \"SERVFAIL\", \"NXDOMAIN\", \"NOTIMP\" or \"REFUSED\"";
const MODE: &str = "\"enforce\" or \"observe\"";
const INTERVAL: &str = "a duration from 10ms to 1h, such as \"2s\"";
const TIMEOUT: &str = "a duration from 10ms to 10m, such as \"1s\"";
const WAIT: &str = "a duration from 1s to 1h, such as \"30s\"";
const RUN: &str = "a whole number from 1 to 100";
const ADDRESS: &str = "an IP address, such as \"10.0.0.2\" or \"fe80::1%eth0\"";
const BYTES: &str = "a text of 1 to 4096 bytes, such as \"PING\\r\\n\" or '\\x00\\xff'";
const FILE: &str = "the path of a PEM file";

pub static TOP: Section = Section {
    title: "the top level",
    keys: &[
        key("mode", MODE, Value("\"enforce\"")),
        key("suspect-self", "a percentage from \"1%\" to \"100%\"", Value("\"100%\"")),
        key("restore-on-exit", "true or false", Value("false")),
        key("web", "a table, [web]", Otherwise("its keys' defaults")),
        key("state", "a table, [state]", Otherwise("its keys' defaults")),
        key("control", "a table, [control]", Otherwise("its keys' defaults")),
        key("ipvs", "a table, [ipvs]", Otherwise("its keys' defaults")),
        key("director", "a table, [director]", Otherwise("its keys' defaults")),
        key("defaults", "a table, [defaults]", Otherwise("its keys' defaults")),
        key("check", "tables, [check.NAME], at most 1,000", Otherwise("no checks")),
        key("service", "tables in a list, [[service]], at most 10,000", Otherwise("nothing is managed")),
    ],
    later: &[],
};

pub static WEB: Section = Section {
    title: "[web]",
    keys: &[
        key("listen", "a list of addresses with ports, such as [\"[::]:10190\"]", Value("[\"[::]:10190\"]")),
        key(
            "telemetry-path",
            "a path of its own, such as \"/metrics\" (not \"/\", nor below /-/ or /api/)",
            Value("\"/metrics\""),
        ),
        key("config-file", "the path of a YAML file", Otherwise("plain HTTP, everybody may read")),
    ],
    later: &[],
};

pub static STATE: Section = Section {
    title: "[state]",
    keys: &[
        key("directory", "an absolute path", Value("\"/var/lib/lvs-agent\"")),
        key("max-age", "a duration from 1m to 8760h, such as \"168h\"", Value("\"168h\"")),
    ],
    later: &[],
};

pub static CONTROL: Section = Section {
    title: "[control]",
    keys: &[key("socket", "an absolute path of at most 107 bytes", Value("\"/run/lvs-agent/control.sock\""))],
    later: &[],
};

pub static IPVS: Section = Section {
    title: "[ipvs]",
    keys: &[key("poll-interval", "a duration from 100ms to 1m, such as \"2s\"", Value("\"2s\""))],
    later: &[],
};

pub static DIRECTOR: Section = Section {
    title: "[director]",
    keys: &[
        key(
            "vips",
            "a list of IP addresses, such as [\"10.10.0.100\"]",
            Otherwise("the addresses of the table's virtual servers"),
        ),
        key("vip-sharing", "\"exclusive\" or \"shared\"", Value("\"exclusive\"")),
    ],
    later: &[],
};

/// Of `[defaults]` and `[check.NAME]` alike.
const LATER_CHECK_KEYS: &[&str] = &["via"];

pub static DEFAULTS: Section = Section {
    title: "[defaults]",
    keys: &[
        key("interval", INTERVAL, Value("\"2s\"")),
        key("timeout", TIMEOUT, Value("\"1s\"")),
        key("rise", RUN, Value("2")),
        key("fall", RUN, Value("3")),
        key("fast-interval", INTERVAL, Otherwise("`\"200ms\"`, or the interval if that is shorter")),
        key("tripwire", "true or false", Value("false")),
    ],
    later: LATER_CHECK_KEYS,
};

const INHERITED: Fallback = Otherwise("that of [defaults]");

pub static CHECK: Section = Section {
    title: "[check.NAME]",
    keys: &[
        key("type", TYPE, Required),
        key("interval", INTERVAL, INHERITED),
        key("timeout", TIMEOUT, INHERITED),
        key("rise", RUN, INHERITED),
        key("fall", RUN, INHERITED),
        key("fast-interval", INTERVAL, INHERITED),
        stays("tripwire", "true or false", INHERITED),
        key("port", "a port from 1 to 65535", Otherwise("the real server's; in DR and TUN the service's")),
        key("address", ADDRESS, Otherwise("the real server's")),
        key("source", ADDRESS, Otherwise("the kernel's choice, but never a virtual address")),
        key("mark", "a whole number from 1 to 4294967295", Otherwise("no mark")),
        key("close", "\"rst\" or \"fin\"", Otherwise("`\"rst\"` for bare tcp, `\"fin\"` for the others")),
        connected("proxy-protocol", "\"v1\" or \"v2\"", Otherwise("no header")),
        spoken_to("send", BYTES, Otherwise("nothing: the server speaks first")),
        tcp("expect", BYTES, Otherwise("a connection is enough")),
        tcp("expect-regex", "a regular expression of 1 to 4096 bytes", Otherwise("a connection is enough")),
        dns("question", "a name and a record type, such as \"example.com A\"", Required),
        dns("transport", "\"udp\" or \"tcp\"", Value("\"udp\"")),
        dns("rcode", RCODE, Value("\"NOERROR\"")),
        dns(
            "answers",
            "a list of IP addresses, such as [\"192.0.2.1\"], at most 16",
            Otherwise("any answer"),
        ),
        http("path", "a path that begins with /, in printable ASCII without spaces or #", Value("\"/\"")),
        hosted(
            "host",
            "a host name or address, with a port if need be, such as \"shop.example.com\"",
            Otherwise("the probed address and port"),
        ),
        http("http-version", "\"1.1\" or \"2\"", Value("\"1.1\"")),
        http("method", "an HTTP method, such as \"GET\"", Value("\"GET\"")),
        http(
            "headers",
            "a table of texts, such as { X-Probe = \"lvs\" }, at most 32",
            Otherwise("no further headers"),
        ),
        http(
            "status",
            "a list of codes and ranges from 100 to 599, such as [\"200-299\", 401]",
            Value("[\"200-299\"]"),
        ),
        http("body-contains", "a text of 1 to 4096 bytes", Otherwise("any body")),
        http("body-regex", "a regular expression of 1 to 4096 bytes", Otherwise("any body")),
        grpc(
            "grpc-service",
            "1 to 256 bytes of printable text, such as \"shop.Cart\"",
            Otherwise("the server as a whole"),
        ),
        http("connection", "\"fresh\" or \"reuse\"", Value("\"fresh\"")),
        http(
            "weight-header",
            "the name of a header, such as \"Server-Weight\"",
            Otherwise("the answer says nothing of weights"),
        ),
        http(
            "fresh-every",
            "a whole number from 2 to 1000",
            Otherwise("10 where `connection` is \"reuse\", else each probe has its own"),
        ),
        tls(
            "server-name",
            "a host name or an IP address, such as \"shop.example.com\"",
            Otherwise("`host` without its port, else the probed address"),
        ),
        tls("verify", "true or false", Value("true")),
        tls("ca-file", FILE, Otherwise("the system's roots")),
        tls("client-cert", FILE, Otherwise("no client certificate")),
        tls("client-key", FILE, Otherwise("no client certificate")),
    ],
    later: LATER_CHECK_KEYS,
};

pub static SERVICE: Section = Section {
    title: "[[service]]",
    keys: &[
        key(
            "match",
            "a list of patterns, such as [\"10.10.0.100:80/tcp\", \"[2001:db8::/64]:*/tcp\", \"fwmark:7/ipv4\"]",
            Required,
        ),
        key("name", "1 to 64 bytes of printable text", Otherwise("the virtual server's own text")),
        key("checks", "a list of names of checks, such as [\"web\"], or []", Required),
        key("floor", "a whole number from 0 to 65535 or a percentage, such as 1 or \"50%\"", Value("1")),
        key("quorum", "a whole number from 1 to 65535", Value("1")),
        key("capacity-low", "a percentage from \"0%\" to \"100%\"", Value("\"50%\"")),
        key(
            "on-failure",
            "\"weight-0\" or \"observe\"",
            Otherwise("`\"observe\"` for the scheduler dh, `\"weight-0\"` for all others"),
        ),
        key("slow-start", WAIT, Otherwise("off: the whole weight at once")),
        key("hold-down", WAIT, Otherwise("off: as soon as it is up")),
        key("mode", MODE, Otherwise("the global mode")),
    ],
    later: &["path-failure"],
};

/// Every section, in the order of the manual.
pub static SECTIONS: [&Section; 9] =
    [&TOP, &WEB, &STATE, &CONTROL, &IPVS, &DIRECTOR, &DEFAULTS, &CHECK, &SERVICE];

impl Section {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}
