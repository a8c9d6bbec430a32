//! `status --agent https://…`: an agent behind a certificate of one's own authority, which asks for one in turn.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::agent::{Agent, Ended, finish, lvs_agent};
use crate::site::Site;

/// `secret`, at the least cost there is.
const HASH: &str = "$2b$04$1j6gMiBbW8ctEv9D3prx7OePgk1WZ87up13sWAIC5HSGY/Fv8jDi6";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// The agent of `site`, guarded; beside its files lie those that tell who may read.
struct Guarded {
    site: Site,
    agent: Agent,
}

impl Guarded {
    fn start() -> Guarded {
        let site = Site::new(1);
        let (ours, theirs) = (authority("ours"), authority("theirs"));
        let write = |name: &str, text: &str| fs::write(site.path(name), text).expect("written");
        for (name, issuer) in [("server", &ours), ("client", &ours), ("stranger", &theirs)] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
            let certificate = params.signed_by(&key, issuer).expect("a certificate");
            write(&format!("{name}.pem"), &certificate.pem());
            write(&format!("{name}.key"), &key.serialize_pem());
        }
        write("ca.pem", &ours.pem());
        write("other-ca.pem", &theirs.pem());
        write(
            "web.yml",
            &format!(
                "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n  \
                 client_auth_type: RequireAndVerifyClientCert\nbasic_auth_users:\n  alice: {HASH}\n"
            ),
        );
        let mut command = site.command();
        command.arg("--web.config.file").arg(site.path("web.yml"));
        let agent = Agent::start(command);
        Guarded { site, agent }
    }

    fn url(&self) -> String {
        format!("https://alice:secret@localhost:{}", self.agent.address.port())
    }

    /// `status --agent` with these files of the directory.
    fn ask(&self, files: &[(&str, &str)]) -> Ended {
        let mut command = lvs_agent(&["status", "--agent", &self.url()]);
        for (flag, file) in files {
            command.arg(flag).arg(self.path(file));
        }
        finish(command)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.path(name)
    }
}

const CA: (&str, &str) = ("--ca-file", "ca.pem");
const CERT: (&str, &str) = ("--client-cert", "client.pem");
const KEY: (&str, &str) = ("--client-key", "client.key");

#[test]
fn it_answers_who_is_issued_by_its_authority() {
    let guarded = Guarded::start();
    let asked = || guarded.ask(&[CA, CERT, KEY]);
    let ended = crate::agent::wait_for(
        "it is up",
        || format!("{:?}", asked()),
        || Some(asked()).filter(|ended| ended.code == Some(0)),
    );
    assert!(ended.out.contains(&guarded.site.real_server(0)), "{ended:?}");
    // The key may lie in the certificate's file, in either order.
    let [cert, key] =
        ["client.pem", "client.key"].map(|f| fs::read_to_string(guarded.path(f)).expect("text"));
    fs::write(guarded.path("both.pem"), format!("{key}{cert}")).expect("written");
    guarded.ask(&[CA, ("--client-cert", "both.pem"), ("--client-key", "both.pem")]).expect_code(0);
}

/// Each says what is missing, nothing of the agent's is shown, and never the password.
#[test]
fn it_answers_nobody_else() {
    let guarded = Guarded::start();
    for (files, told) in [
        (&[][..], "name its authority with --ca-file"),
        (&[("--ca-file", "other-ca.pem"), CERT, KEY], "name its authority with --ca-file"),
        (&[CA], "it wants one from you: --client-cert and --client-key"),
        (&[CA, ("--client-cert", "stranger.pem"), ("--client-key", "stranger.key")], "alert"),
    ] {
        let ended = guarded.ask(files).expect_code(69);
        assert!(ended.out.contains("NOT READ: ") && ended.out.contains(told), "{files:?}: {ended:?}");
        assert!(!ended.out.contains("REAL SERVER") && !ended.out.contains("secret"), "{ended:?}");
    }
}

/// Before anybody is asked, by the flag and the file.
#[test]
fn files_that_cannot_be_used_are_named() {
    let guarded = Guarded::start();
    fs::write(guarded.path("empty"), "").expect("written");
    fs::write(guarded.path("large"), vec![b'-'; (1 << 20) + 1]).expect("written");
    let own = |flag: &str, file: &str| format!("--{flag} {}", guarded.path(file).display());
    for (files, told) in [
        (
            &[("--ca-file", "missing")][..],
            format!("reading {} failed: No such file", own("ca-file", "missing")),
        ),
        (&[("--ca-file", "empty")], format!("{}: no certificate in PEM form", own("ca-file", "empty"))),
        (
            &[("--ca-file", "client.key")],
            format!("{}: no certificate in PEM form", own("ca-file", "client.key")),
        ),
        (&[("--ca-file", "large")], format!("{}: larger than 1048576 bytes", own("ca-file", "large"))),
        (&[CA, ("--client-cert", "empty"), KEY], format!("{}: no certificate", own("client-cert", "empty"))),
        (
            &[CA, CERT, ("--client-key", "client.pem")],
            format!("{}: no key in PEM form", own("client-key", "client.pem")),
        ),
        (
            &[CA, CERT, ("--client-key", "stranger.key")],
            format!(
                "{} and {} cannot be used together",
                own("client-cert", "client.pem"),
                own("client-key", "stranger.key")
            ),
        ),
    ] {
        let ended = guarded.ask(files).expect_code(69);
        assert!(ended.err.contains(&told) && ended.out.is_empty(), "{told}: {ended:?}");
    }
}

#[test]
fn the_flags_need_each_other() {
    for arguments in [
        &["status", "--ca-file", "ca.pem"][..],
        &["status", "--agent", "https://d2", "--client-cert", "client.pem"],
        &["status", "--agent", "https://d2", "--client-key", "client.key"],
    ] {
        let ended = finish(lvs_agent(arguments)).expect_code(2);
        assert!(ended.err.contains("required arguments were not provided"), "{ended:?}");
    }
}
