//! Whom a TLS check trusts and as whom it appears: one rustls configuration for each distinct set
//! of options, made once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::reason::Stop;
use super::verify::{Accepts, Verifier};
use crate::model::{ClientCertificate, PemFile, TlsOptions};

/// Configurations kept; reloads leave stale ones behind, so when it is full it starts over.
const CACHE_LIMIT: usize = 256;

/// What is to be spoken over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Alpn {
    Http1,
    Http2,
}

impl Alpn {
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Alpn::Http1 => b"http/1.1",
            Alpn::Http2 => b"h2",
        }
    }
}

/// What a TLS connection starts from.
pub(super) struct Session {
    pub config: Arc<ClientConfig>,
    /// SNI (a name, not an address), and what the certificate must bear.
    pub name: ServerName<'static>,
}

pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    /// The random generator is seeded.
    seeded: OnceCell<()>,
    system: OnceCell<Arc<RootCertStore>>,
    configs: Mutex<HashMap<Identity, (Kept, Arc<ClientConfig>)>>,
}

impl Trust {
    pub fn new() -> Trust {
        Trust {
            provider: Arc::new(aws_lc_rs::default_provider()),
            seeded: OnceCell::new(),
            system: OnceCell::new(),
            configs: Mutex::default(),
        }
    }

    /// `alpn`: the one protocol that is offered (RFC 7301). What is unusable here is ours, not the server's.
    pub async fn session(
        &self,
        options: &TlsOptions,
        host: Option<&str>,
        addr: IpAddr,
        alpn: Option<Alpn>,
    ) -> Result<Session, Stop> {
        let name = server_name(options, host, addr)?;
        let identity = Identity::of(options, alpn);
        if let Some((_, config)) = self.configs().get(&identity) {
            return Ok(Session { config: Arc::clone(config), name });
        }
        self.seed().await?;
        let config = Arc::new(self.config(options, alpn).await?);
        let mut configs = self.configs();
        if configs.len() >= CACHE_LIMIT {
            configs.clear();
        }
        let kept = Kept { _ca: options.ca.clone(), _client: options.client_certificate.clone() };
        configs.insert(identity, (kept, Arc::clone(&config)));
        Ok(Session { config, name })
    }

    fn configs(&self) -> std::sync::MutexGuard<'_, HashMap<Identity, (Kept, Arc<ClientConfig>)>> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Configurations in the cache.
    #[cfg(test)]
    pub fn cached(&self) -> usize {
        self.configs().len()
    }

    /// The first random number of a process takes the provider 50-100 ms, which would stop every
    /// probe on this thread and count as the first handshake's time.
    async fn seed(&self) -> Result<(), Stop> {
        let seeded = self.seeded.get_or_try_init(|| async {
            let provider = Arc::clone(&self.provider);
            let seed = move || provider.secure_random.fill(&mut [0; 1]);
            match tokio::task::spawn_blocking(seed).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(Stop::local("TLS set-up: no random numbers from this system")),
                Err(error) => Err(Stop::local(format!("TLS set-up: {error}"))),
            }
        });
        seeded.await.copied()
    }

    async fn config(&self, options: &TlsOptions, alpn: Option<Alpn>) -> Result<ClientConfig, Stop> {
        let accepts = match (options.verify, &options.ca) {
            (false, _) => Accepts::Anyone,
            (true, Some(ca)) => self.issued_by(ca)?,
            (true, None) => {
                let anchors = self.webpki(self.system_roots().await?, "the system's trust anchors")?;
                Accepts::Issued { anchors, own: Vec::new() }
            }
        };
        let verifier = Arc::new(Verifier::new(Arc::clone(&self.provider), accepts));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Stop::local(format!("TLS set-up: {e}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &options.client_certificate {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let (chain, key) = client_pem(client)?;
                let file = client.certificate.path.display();
                let unusable = |e| Stop::local(format!("client certificate {file}: {e}"));
                builder.with_client_auth_cert(chain, key).map_err(unusable)?
            }
        };
        // A resumed session shows no certificate: it would pass for days after it expired.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        Ok(config)
    }

    fn issued_by(&self, ca: &PemFile) -> Result<Accepts, Stop> {
        let certificates = certificates(ca)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let file = ca.path.display();
            roots
                .add(certificate.clone())
                .map_err(|e| Stop::local(format!("{file}: not usable as a trust anchor: {e}")))?;
        }
        let anchors = self.webpki(Arc::new(roots), &ca.path.display().to_string())?;
        Ok(Accepts::Issued { anchors, own: certificates })
    }

    fn webpki(&self, roots: Arc<RootCertStore>, what: &str) -> Result<Arc<WebPkiServerVerifier>, Stop> {
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|e| Stop::local(format!("{what}: {e}")))
    }

    /// Read once, off the event loop: hundreds of files.
    async fn system_roots(&self) -> Result<Arc<RootCertStore>, Stop> {
        let roots = self.system.get_or_try_init(|| async {
            let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
                .await
                .map_err(|e| Stop::local(format!("reading the system's trust anchors: {e}")))?;
            let mut roots = RootCertStore::empty();
            // A store may hold odd certificates; those that can be used are enough.
            let (usable, _) = roots.add_parsable_certificates(loaded.certs);
            if usable == 0 {
                let cause = loaded.errors.first().map(|e| format!(": {e}")).unwrap_or_default();
                return Err(Stop::local(format!(
                    "no usable trust anchors on this system{cause}; install ca-certificates or set `ca-file`"
                )));
            }
            Ok(Arc::new(roots))
        });
        roots.await.map(Arc::clone)
    }
}

/// Options that give the same configuration. Files are told apart by where they are in memory,
/// which [`Kept`] keeps from being given to another, so that a probe hashes no bundle.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    verify: bool,
    alpn: Option<Alpn>,
    ca: Option<usize>,
    client: Option<(usize, usize)>,
}

impl Identity {
    fn of(options: &TlsOptions, alpn: Option<Alpn>) -> Identity {
        let place = |file: &Arc<PemFile>| ptr::from_ref(file.as_ref()).addr();
        Identity {
            verify: options.verify,
            alpn,
            ca: options.ca.as_ref().map(place),
            client: options.client_certificate.as_ref().map(|c| (place(&c.certificate), place(&c.key))),
        }
    }
}

struct Kept {
    _ca: Option<Arc<PemFile>>,
    _client: Option<ClientCertificate>,
}

/// The configured name, else the check's host without its port, else the probed address.
fn server_name(options: &TlsOptions, host: Option<&str>, addr: IpAddr) -> Result<ServerName<'static>, Stop> {
    let Some(name) = options.server_name.as_deref().or(host.map(without_port)) else {
        return Ok(ServerName::from(addr));
    };
    ServerName::try_from(name.to_owned()).map_err(|e| Stop::local(format!("server name `{name}`: {e}")))
}

fn without_port(host: &str) -> &str {
    if let Some((addr, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return addr;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

fn certificates(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, Stop> {
    let path = file.path.display();
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.pem).collect();
    match parsed {
        Ok(certificates) if certificates.is_empty() => {
            Err(Stop::local(format!("{path}: no certificate in PEM form")))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(Stop::local(format!("{path}: {error}"))),
    }
}

type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_pem(client: &ClientCertificate) -> Result<Chain, Stop> {
    let key = PrivateKeyDer::from_pem_slice(&client.key.pem)
        .map_err(|e| Stop::local(format!("client key {}: {e}", client.key.path.display())))?;
    Ok((certificates(&client.certificate)?, key))
}
