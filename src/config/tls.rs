//! The keys of a check that speaks TLS. Its files are read and parsed here, so that a wrong one is
//! a fault of the configuration and not a failed probe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{InconsistentKeys, RootCertStore};
use toml::de::DeValue;

use super::problem::quote;
use super::reader::{Bad, Placed, Reader};
use super::values::{boolean, text};
use crate::model::{ClientCertificate, PemFile, TlsOptions};

/// Reads the files that a configuration names; each only once.
pub(super) struct Files<'r> {
    read: &'r dyn Fn(&Path) -> std::io::Result<Vec<u8>>,
    files: BTreeMap<PathBuf, Result<Arc<PemFile>, String>>,
}

impl<'r> Files<'r> {
    pub fn new(read: &'r dyn Fn(&Path) -> std::io::Result<Vec<u8>>) -> Files<'r> {
        Files { read, files: BTreeMap::new() }
    }

    fn get(&mut self, path: &str) -> Result<Arc<PemFile>, String> {
        let path = PathBuf::from(path);
        let read = self.read;
        let file = self.files.entry(path.clone()).or_insert_with(|| match read(&path) {
            Ok(pem) => Ok(Arc::new(PemFile { path, pem })),
            Err(e) => Err(format!("{} cannot be read: {e}", quote(&path.to_string_lossy()))),
        });
        file.clone()
    }
}

/// The options, and whether `server-name` is written.
pub(super) fn read(reader: &mut Reader<'_, '_>, files: &mut Files<'_>) -> TlsOptions {
    let server_name = reader.optional("server-name", server_name);
    let verify = reader.optional("verify", boolean).unwrap_or(true);
    let ca = reader.placed("ca-file", |value| {
        let file = files.get(path(value)?);
        file.and_then(|file| trusted(&file).map(|()| file)).map_err(Bad::Message)
    });
    if let Some(ca) = &ca
        && !verify
    {
        reader.faults.warn(&ca.place, "is not used, for `verify` is false");
    }
    let client_certificate = client_certificate(reader, files);
    TlsOptions { server_name, verify, ca: ca.map(|ca| ca.value), client_certificate }
}

/// True if a certificate can be for this name.
pub(super) fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

fn server_name(value: &DeValue<'_>) -> Result<String, Bad> {
    let name = text(value)?;
    if is_server_name(name) {
        Ok(name.to_owned())
    } else {
        Err(Bad::Form(format!("{} is no name that a certificate can be for", quote(name))))
    }
}

fn path<'t>(value: &'t DeValue<'_>) -> Result<&'t str, Bad> {
    let path = text(value)?;
    if path.is_empty() || path.contains('\0') {
        return Err(Bad::Form(format!("{} is no path", quote(path))));
    }
    Ok(path)
}

fn client_certificate(reader: &mut Reader<'_, '_>, files: &mut Files<'_>) -> Option<ClientCertificate> {
    // A path whose file is wrong is written all the same: the other key is not missing.
    let certificate = reader.placed("client-cert", |value| path(value).map(str::to_owned));
    let key = reader.placed("client-key", |value| path(value).map(str::to_owned));
    match (&certificate, &key) {
        (Some(lone), None) if !reader.is_written("client-key") => {
            reader.faults.fault(&lone.place, "needs `client-key`, the private key of this certificate");
        }
        (None, Some(lone)) if !reader.is_written("client-cert") => {
            reader.faults.fault(&lone.place, "needs `client-cert`, the certificate of this key");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    let mut get = |path: Option<Placed<String>>, check: fn(&PemFile) -> Result<(), String>| {
        let Placed { value, place } = path?;
        match files.get(&value).and_then(|file| check(&file).map(|()| file)) {
            Ok(file) => Some(Placed { value: file, place }),
            Err(message) => {
                reader.faults.fault(&place, message);
                None
            }
        }
    };
    let certificate = get(certificate, end_entity);
    let key = get(key, |file| private_key(file).map(|_| ()));
    let (certificate, key) = (certificate?, key?);
    if let Err(message) = belong_together(&certificate.value, &key.value) {
        reader.faults.fault(&key.place, message);
    }
    Some(ClientCertificate { certificate: certificate.value, key: key.value })
}

fn certificates(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, String> {
    let path = file.path.to_string_lossy();
    let parsed: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&file.pem).collect();
    match parsed {
        Ok(list) if list.is_empty() => Err(format!("{} holds no certificate in PEM form", quote(&path))),
        Ok(list) => Ok(list),
        Err(e) => Err(format!("{} is not well-formed PEM: {e}", quote(&path))),
    }
}

/// The file's first certificate is the client's own; those behind it lead to its root.
fn end_entity(file: &PemFile) -> Result<(), String> {
    let chain = certificates(file)?;
    match chain.first().map(ParsedCertificate::try_from) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(e)) => {
            let path = file.path.to_string_lossy();
            Err(format!("{}: its first certificate cannot be read: {e}", quote(&path)))
        }
    }
}

/// The file's certificates as roots: each must be one that a chain can end in.
fn trusted(file: &PemFile) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for (i, certificate) in certificates(file)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|e| {
            let path = file.path.to_string_lossy();
            format!("{}: its certificate number {} cannot be trusted as a root: {e}", quote(&path), i + 1)
        })?;
    }
    Ok(())
}

fn private_key(file: &PemFile) -> Result<PrivateKeyDer<'static>, String> {
    let path = file.path.to_string_lossy();
    // An encrypted key (PKCS #8 with a password) is another kind of PEM section, so not found.
    PrivateKeyDer::from_pem_slice(&file.pem).map_err(|e| {
        if matches!(e, PemError::NoItemsFound) {
            format!("{} holds no private key in PEM form (one with a password cannot be used)", quote(&path))
        } else {
            format!("{} is not well-formed PEM: {e}", quote(&path))
        }
    })
}

fn belong_together(certificate: &PemFile, key: &PemFile) -> Result<(), String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let signer = provider
        .key_provider
        .load_private_key(private_key(key)?)
        .map_err(|e| format!("{} cannot be used: {e}", quote(&key.path.to_string_lossy())))?;
    match rustls::sign::CertifiedKey::new(certificates(certificate)?, signer).keys_match() {
        // Some kinds of keys do not tell their public half.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("is not the private key of the certificate in `client-cert`".to_owned())
        }
        Err(e) => Err(format!("does not go with `client-cert`, whose certificate cannot be read: {e}")),
    }
}
