//! `tls_server_config` → rustls.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DistinguishedName, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::file::Tls;
use crate::tls::signatures_of_the_provider;

/// The contents of the files that the section names.
pub(super) struct Material {
    pub certificates: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
    pub client_ca: Option<Vec<u8>>,
}

const AUTH_TYPES: &str = "NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert";

pub(super) fn server_config(tls: &Tls, material: &Material) -> Result<Arc<ServerConfig>, String> {
    let certificates = material.certificates.as_deref().ok_or("tls_server_config: cert_file is missing")?;
    let key = material.key.as_deref().ok_or("tls_server_config: key_file is missing")?;
    let certificates = certificates_of(certificates, "cert_file")?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "tls_server_config: key_file holds no PEM private key".to_owned())?;
    let provider = Arc::new(provider(tls)?);
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls)?)
        .map_err(|error| format!("tls_server_config: {error}"))?;
    let builder = match client_verifier(tls, material, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| format!("tls_server_config: cert_file and key_file: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates_of(pem: &[u8], key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(_) => Err(format!("tls_server_config: {key} holds no PEM certificates")),
    }
}

fn versions(tls: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let number = |key: &str, word: &Option<String>, default: u8| match word.as_deref() {
        None => Ok(default),
        Some("TLS12") => Ok(12),
        Some("TLS13") => Ok(13),
        Some(old @ ("TLS10" | "TLS11")) => {
            Err(format!("tls_server_config.{key}: {old} is broken and not offered: write TLS12 or TLS13"))
        }
        Some(other) => Err(format!("tls_server_config.{key}: {other:?} is unknown: write TLS12 or TLS13")),
    };
    let range = number("min_version", &tls.min_version, 12)?..=number("max_version", &tls.max_version, 13)?;
    let known = [(12, &rustls::version::TLS12), (13, &rustls::version::TLS13)];
    let within: Vec<_> = known.into_iter().filter(|(n, _)| range.contains(n)).map(|(_, v)| v).collect();
    if within.is_empty() {
        Err("tls_server_config: min_version is above max_version".to_owned())
    } else {
        Ok(within)
    }
}

/// Only what is named, where something is. The names are Go's, as the format has them.
fn provider(tls: &Tls) -> Result<CryptoProvider, String> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Some(wanted) = tls.cipher_suites.as_ref().filter(|list| !list.is_empty()) {
        let name =
            |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
        let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
        if let Some(word) = wanted.iter().find(|word| !known.contains(word)) {
            let known = known.join(", ");
            return Err(format!(
                "tls_server_config.cipher_suites: {word:?} is not offered; there are: {known}"
            ));
        }
        // As in Go, those of TLS 1.3 are not to be chosen.
        provider.cipher_suites.retain(|suite| wanted.contains(&name(suite)) || suite.tls13().is_some());
    }
    if let Some(wanted) = tls.curve_preferences.as_ref().filter(|list| !list.is_empty()) {
        let mut groups = Vec::with_capacity(wanted.len());
        for word in wanted {
            let name = match word.as_str() {
                "CurveP256" => rustls::NamedGroup::secp256r1,
                "CurveP384" => rustls::NamedGroup::secp384r1,
                "X25519" => rustls::NamedGroup::X25519,
                _ => {
                    return Err(format!(
                        "tls_server_config.curve_preferences: {word:?} is not offered: write CurveP256, CurveP384 or X25519"
                    ));
                }
            };
            groups.extend(provider.kx_groups.iter().copied().filter(|group| group.name() == name));
        }
        provider.kx_groups = groups;
    }
    Ok(provider)
}

fn client_verifier(
    tls: &Tls,
    material: &Material,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let kind = tls.client_auth_type.as_deref().unwrap_or("NoClientCert");
    let authorities = || {
        let pem = material.client_ca.as_deref();
        let pem = pem.ok_or_else(|| format!("tls_server_config: {kind} needs a client_ca_file"))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates_of(pem, "client_ca_file")? {
            roots.add(authority).map_err(|error| format!("tls_server_config: client_ca_file: {error}"))?;
        }
        Ok::<_, String>(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()))
    };
    let any = |mandatory| -> Arc<dyn ClientCertVerifier> {
        Arc::new(AnyClient { mandatory, provider: provider.clone() })
    };
    let faulty =
        |error: rustls::server::VerifierBuilderError| format!("tls_server_config: client_ca_file: {error}");
    match kind {
        "NoClientCert" if material.client_ca.is_some() => Err(format!(
            "tls_server_config: client_ca_file needs a client_auth_type that asks for certificates ({AUTH_TYPES})"
        )),
        "NoClientCert" => Ok(None),
        "RequestClientCert" => Ok(Some(any(false))),
        "RequireAnyClientCert" => Ok(Some(any(true))),
        "VerifyClientCertIfGiven" => {
            authorities()?.allow_unauthenticated().build().map(|v| Some(v as _)).map_err(faulty)
        }
        "RequireAndVerifyClientCert" => authorities()?.build().map(|v| Some(v as _)).map_err(faulty),
        other => Err(format!(
            "tls_server_config.client_auth_type: {other:?} is unknown: write one of {AUTH_TYPES}"
        )),
    }
}

/// `RequestClientCert` and `RequireAnyClientCert`: whoever signed it; that the client has its key is
/// still proven.
#[derive(Debug)]
struct AnyClient {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    signatures_of_the_provider!();
}
