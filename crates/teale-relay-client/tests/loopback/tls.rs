//! wss, with a certificate authority made for the test.

use std::{sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use teale_relay_client::{RelayClient, RelayError};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::support::{PATIENCE, Relay, config};

/// Puts TLS in front of a relay; returns its URL and the authority's certificate.
async fn terminate(relay: &Relay) -> (String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = relay.address;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut from) = acceptor.accept(stream).await else { return };
                let mut to = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (format!("wss://localhost:{port}/ws"), authority.pem())
}

#[tokio::test]
async fn a_relay_with_a_trusted_certificate_is_reached() {
    let relay = Relay::start().await;
    let (url, ca) = terminate(&relay).await;
    let mut config = config(&url, 1);
    config.extra_ca_pem = Some(ca);
    let (client, _events) = RelayClient::spawn(config);
    client.registered(PATIENCE).await.unwrap();
    client.shutdown().await;
}

#[tokio::test]
async fn a_relay_with_an_unknown_certificate_is_refused() {
    let relay = Relay::start().await;
    let (url, _) = terminate(&relay).await;
    let (client, _events) = RelayClient::spawn(config(&url, 1));
    let Err(RelayError::NotConnected(reason)) = client.registered(Duration::from_secs(3)).await else {
        panic!("the certificate was taken");
    };
    assert!(reason.starts_with("the relay's certificate was refused"), "{reason}");
    client.shutdown().await;
}
