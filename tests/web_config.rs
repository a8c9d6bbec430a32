//! `--web.config.file`: good and bad files, judged by the agent and by `promtool check web-config`, which is
//! the format's own judge. Where the two differ, the reason stands beside the file.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use lvs_agent::web::Access;

/// `secret`, at the least cost there is.
const HASH: &str = "$2b$04$1j6gMiBbW8ctEv9D3prx7OePgk1WZ87up13sWAIC5HSGY/Fv8jDi6";

/// What is said of a file.
enum Verdict {
    /// By both.
    Good,
    /// By both.
    Bad,
    /// By us, while Debian's promtool (2.42) takes it.
    OnlyWeRefuse(&'static str),
}
use Verdict::{Bad, Good, OnlyWeRefuse};

const TLS: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";

fn cases() -> Vec<(String, Verdict)> {
    let tls = |more: &str| format!("{TLS}{more}");
    let users = |hash: &str| format!("basic_auth_users:\n  alice: {hash}\n");
    let header = |line: &str| format!("http_server_config:\n  headers:\n    {line}\n");
    let mut all = vec![
        (String::new(), Good),
        ("# nothing but a comment\n".to_owned(), Good),
        ("tls_server_config: {}\n".to_owned(), Good),
        (tls(""), Good),
        (tls("  min_version: TLS13\n  max_version: TLS13\n"), Good),
        (tls("  min_version: TLS12\n"), Good),
        (tls("  prefer_server_cipher_suites: false\n"), Good),
        (tls("  curve_preferences: [CurveP256, X25519]\n"), Good),
        (tls("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n"), Good),
        (tls("  cipher_suites: [TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]\n"), Good),
        (tls("  client_auth_type: NoClientCert\n"), Good),
        (tls("  client_auth_type: RequestClientCert\n"), Good),
        (tls("  client_auth_type: RequireAnyClientCert\n"), Good),
        (tls("  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: cert.pem\n"), Good),
        (tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: cert.pem\n"), Good),
        (tls("http_server_config:\n  http2: false\n"), Good),
        (users(HASH), Good),
        (users(&HASH.replace("$2b$", "$2y$")), Good),
        (users(&HASH.replace("$2b$", "$2a$")), Good),
        (header("X-Frame-Options: deny"), Good),
        (header("X-Content-Type-Options: nosniff"), Good),
        (header("Strict-Transport-Security: max-age=31536000"), Good),
        (header("Content-Security-Policy: \"\""), Good),
        ("not_a_key: 1\n".to_owned(), Bad),
        ("tls_server_config:\n  certfile: cert.pem\n".to_owned(), Bad),
        ("tls_server_config: 7\n".to_owned(), Bad),
        ("tls_server_config:\n  cert_file: cert.pem\n".to_owned(), Bad),
        ("tls_server_config:\n  key_file: key.pem\n".to_owned(), Bad),
        ("tls_server_config:\n  client_auth_type: RequireAnyClientCert\n".to_owned(), Bad),
        (TLS.replace("cert.pem", "missing.pem"), Bad),
        (TLS.replace("key.pem", "cert.pem"), Bad),
        (TLS.replace("cert.pem", "key.pem"), Bad),
        (TLS.replace("key.pem", "other.pem"), Bad),
        (tls("  client_ca_file: cert.pem\n"), Bad),
        (tls("  client_auth_type: Require\n"), Bad),
        (tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: missing.pem\n"), Bad),
        (tls("  min_version: TLS14\n"), Bad),
        (tls("  cipher_suites: [TLS_NULL]\n"), Bad),
        (tls("  curve_preferences: [CurveP1]\n"), Bad),
        (users("secret"), Bad),
        (users("$2b$99$1j6gMiBbW8ctEv9D3prx7OePgk1WZ87up13sWAIC5HSGY/Fv8jDi6"), Bad),
        (users("$3b$04$1j6gMiBbW8ctEv9D3prx7OePgk1WZ87up13sWAIC5HSGY/Fv8jDi6"), Bad),
        (header("X-Frame-Options: maybe"), Bad),
        (header("X-Powered-By: lvs"), Bad),
        ("basic_auth_users: [alice]\n".to_owned(), Bad),
        (format!("{}{}", users(HASH), users(HASH)), Bad),
        ("rate_limit: {interval: 1s, burst: 5}\n".to_owned(), Bad),
        (tls("  client_allowed_sans: [a]\n"), Bad),
    ];
    let old = "TLS 1.0 and 1.1 are broken; they are not offered";
    all.push((tls("  min_version: TLS10\n"), OnlyWeRefuse(old)));
    all.push((tls("  max_version: TLS11\n"), OnlyWeRefuse(old)));
    let suite = "no suite without forward secrecy or with CBC is offered";
    all.push((tls("  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n"), OnlyWeRefuse(suite)));
    let roots = "without client_ca_file every certificate of a public authority would do";
    all.push((tls("  client_auth_type: RequireAndVerifyClientCert\n"), OnlyWeRefuse(roots)));
    all.push((
        tls("  curve_preferences: [CurveP521]\n"),
        OnlyWeRefuse("the TLS library does not offer P-521"),
    ));
    all
}

#[test]
fn the_agent_and_promtool_agree() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    for (cert, key) in [("cert.pem", "key.pem"), ("other-cert.pem", "other.pem")] {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        fs::write(at(cert), made.cert.pem()).expect(cert);
        fs::write(at(key), made.signing_key.serialize_pem()).expect(key);
    }
    let mut wrong = Vec::new();
    for (yaml, verdict) in cases() {
        fs::write(at("web.yml"), &yaml).expect("web.yml");
        let ours = Access::load(&at("web.yml")).map(drop);
        let theirs = promtool(&at("web.yml"));
        let (we_take, they_take) = match verdict {
            Good => (true, true),
            Bad => (false, false),
            OnlyWeRefuse(why) => {
                assert!(!why.is_empty());
                (false, true)
            }
        };
        if ours.is_ok() != we_take {
            wrong.push(format!("we: {:?}\n{yaml}", ours.as_ref().map_err(ToString::to_string)));
        }
        if theirs.is_ok() != they_take {
            wrong.push(format!("promtool: {theirs:?}\n{yaml}"));
        }
        if let Err(error) = ours {
            let text = error.to_string();
            assert!(text.contains(directory.path().to_str().expect("text")), "it names the file: {text}");
            assert!(!text.contains("secret"), "a password is not shown: {text}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `Err`: what it said.
fn promtool(file: &Path) -> Result<(), String> {
    let out = Command::new("promtool")
        .args(["check", "web-config"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("promtool is installed (Debian: prometheus)");
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
}
