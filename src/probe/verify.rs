//! The certificates that a server presents: noted whatever comes of them, then judged.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::CertificateError;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::reason::printable;
use crate::model::ChainExpiry;
use crate::tls::signatures_of_the_provider;

/// What webpki says of a server's certificate with CA:TRUE.
pub(super) const CA_AS_SERVER: &str = "CaUsedAsEndEntity";

tokio::task_local! {
    static PRESENTED: Cell<Option<Arc<ChainExpiry>>>;
}

/// Carries out a handshake; also returns what is to be kept of the chain that the server presented.
///
/// Of a chain that is refused rustls tells nobody but the verifier, which all probes of a
/// configuration share: it leaves the chain with the task whose handshake it looks at.
pub(super) async fn observed<F: Future>(handshake: F) -> (F::Output, Option<Arc<ChainExpiry>>) {
    let noted = async { (handshake.await, PRESENTED.with(Cell::take)) };
    PRESENTED.scope(Cell::new(None), noted).await
}

/// The verifier of one configuration.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    accepts: Accepts,
    /// The chain seen last: servers of one configuration mostly present the same, and then share it.
    last: Mutex<Option<Arc<ChainExpiry>>>,
}

#[derive(Debug)]
pub(super) enum Accepts {
    /// `verify = false`: whose certificate it is does not matter, but the server must hold its key.
    Anyone,
    /// What these anchors issued for the name. A `ca-file` may hold the server's own certificate too:
    /// what `openssl req -x509` makes says CA:TRUE, which webpki refuses of a server even where that
    /// very certificate is the one to trust.
    Issued { anchors: Arc<WebPkiServerVerifier>, own: Vec<CertificateDer<'static>> },
}

impl Verifier {
    pub fn new(provider: Arc<CryptoProvider>, accepts: Accepts) -> Verifier {
        Verifier { provider, accepts, last: Mutex::default() }
    }

    fn note<'a>(&self, chain: impl Iterator<Item = &'a CertificateDer<'a>>) {
        let Some(first) = first_to_end(chain) else { return };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match last.as_ref() {
            Some(known) if **known == first => Arc::clone(known),
            Some(_) | None => Arc::clone(last.insert(Arc::new(first))),
        };
        // Not within a probe: then nobody asks.
        let _ = PRESENTED.try_with(|presented| presented.set(Some(known)));
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.note(std::iter::once(end_entity).chain(intermediates));
        let Accepts::Issued { anchors, own } = &self.accepts else {
            return Ok(ServerCertVerified::assertion());
        };
        match anchors.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // Looked at after the time of validity (webpki's check_issuer_independent_properties).
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if other.0.to_string() == CA_AS_SERVER && own.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    signatures_of_the_provider!();
}

/// Of those that can be read; the server's own where several end together. rustls has bounded the
/// chain: its handshake messages are at most 64 kB.
pub(super) fn first_to_end<'a>(chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Option<ChainExpiry> {
    let read = chain.filter_map(|der| parse_x509_certificate(der).ok()).map(|(_, certificate)| certificate);
    let first = read.min_by_key(not_after)?;
    Some(ChainExpiry { not_after: not_after(&first), subject: printable(&subject(&first)).into() })
}

fn not_after(certificate: &X509Certificate<'_>) -> i64 {
    certificate.validity().not_after.timestamp()
}

/// Its name, else the first of its names for servers: the subject of many a public one is empty.
fn subject(certificate: &X509Certificate<'_>) -> String {
    let subject = certificate.subject().to_string();
    if !subject.is_empty() {
        return subject;
    }
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or([].as_slice(), |extension| extension.value.general_names.as_slice());
    let first =
        names.iter().find_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    first.unwrap_or("a certificate without a name").to_owned()
}
