//! Whom `--agent https://…` trusts, and as whom it appears there.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Of one file; the bundle of a whole system has a quarter of it.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Default, clap::Args)]
pub struct TlsFiles {
    /// With https:// agents: the authorities to trust, in PEM form, instead of this machine's
    #[arg(long, value_name = "FILE", requires = "agents")]
    pub ca_file: Option<PathBuf>,
    /// With https:// agents: the certificate to show, and those that lead to its authority, in PEM form
    #[arg(long, value_name = "FILE", requires_all = ["agents", "client_key"])]
    pub client_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM form
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    #[error("reading --{flag} {} failed", path.display())]
    Unreadable { flag: &'static str, path: PathBuf, source: io::Error },
    #[error("--{flag} {}: {problem}", path.display())]
    Unusable { flag: &'static str, path: PathBuf, problem: String },
    #[error("--client-cert {} and --client-key {} cannot be used together", cert.display(), key.display())]
    Unfit { cert: PathBuf, key: PathBuf, source: reqwest::Error },
}

/// What the files hold.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    authorities: Option<Vec<Certificate>>,
    identity: Option<Identity>,
}

impl TlsFiles {
    /// Reads them before anybody is asked: what is wrong with them is wrong for every agent.
    pub fn load(&self) -> Result<Trust, TlsFileError> {
        let authorities = self.ca_file.as_deref().map(authorities).transpose()?;
        let identity = match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => Some(identity(cert, key)?),
            (_, _) => None,
        };
        Ok(Trust { authorities, identity })
    }
}

impl Trust {
    pub(super) fn apply(&self, mut builder: ClientBuilder) -> ClientBuilder {
        if let Some(authorities) = &self.authorities {
            builder = builder.tls_certs_only(authorities.iter().cloned());
        }
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        builder
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, TlsFileError> {
    let flag = "ca-file";
    let unusable = |problem| TlsFileError::Unusable { flag, path: path.to_owned(), problem };
    let found = certificates(flag, path, &read(flag, path)?)?;
    // An odd one would be left out without a word later on, and nobody be trusted.
    for certificate in &found {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(certificate.clone())
            .map_err(|error| unusable(format!("it cannot be a trust anchor: {error}")))?;
    }
    found
        .iter()
        .map(|certificate| Certificate::from_der(certificate).map_err(|e| unusable(e.to_string())))
        .collect()
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, TlsFileError> {
    let mut pem = read("client-cert", cert)?;
    certificates("client-cert", cert, &pem)?;
    let secret = read("client-key", key)?;
    if let Err(error) = PrivateKeyDer::from_pem_slice(&secret) {
        let problem = format!("no key in PEM form that needs no password: {error}");
        return Err(TlsFileError::Unusable { flag: "client-key", path: key.to_owned(), problem });
    }
    pem.push(b'\n');
    pem.extend_from_slice(&secret);
    let unfit = |source| TlsFileError::Unfit { cert: cert.to_owned(), key: key.to_owned(), source };
    let identity = Identity::from_pem(&pem).map_err(unfit)?;
    // Whether the two belong together is first looked at here.
    let tried = ClientBuilder::new().tls_certs_only(std::iter::empty()).identity(identity.clone()).build();
    tried.map(|_| identity).map_err(unfit)
}

fn certificates(
    flag: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let unusable = |problem| TlsFileError::Unusable { flag, path: path.to_owned(), problem };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable("no certificate in PEM form".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let unreadable = |source| TlsFileError::Unreadable { flag, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        let problem = format!("larger than {MAX_BYTES} bytes");
        return Err(TlsFileError::Unusable { flag, path: path.to_owned(), problem });
    }
    Ok(bytes)
}
