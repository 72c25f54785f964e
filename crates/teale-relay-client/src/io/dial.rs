//! Opening the WebSocket: TCP, TLS where asked for, the upgrade.

use std::sync::{Arc, OnceLock};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use teale_identity::NodeId;
use teale_wire::limits;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{client::IntoClientRequest, http::Uri, protocol::WebSocketConfig},
};
use tokio_util::either::Either;

use super::{
    connect::{self, Resolve, connect},
    socket::{Carrier, Socket, describe},
};

const READ_BUFFER: usize = 64 << 10;
const WRITE_BUFFER: usize = 64 << 10;

/// Knows where the relay is and how to get there.
pub(super) struct Dialer {
    url: String,
    node: NodeId,
    extra_ca_pem: Option<String>,
    resolve: Arc<Resolve>,
    tls: OnceLock<Arc<rustls::ClientConfig>>,
}

/// The parts of a relay's URL.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    tls: bool,
    host: String,
    port: u16,
    /// The URL with `node=NODEID` added.
    url: String,
}

impl Target {
    fn parse(url: &str, node: NodeId) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "the relay's URL cannot be read".to_owned())?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err("the relay's URL must start with ws:// or wss://".into()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("the relay's URL names no host")?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let path = uri.path();
        let query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
        let scheme = if tls { "wss" } else { "ws" };
        let url = format!("{scheme}://{authority}{path}?{query}node={node}");
        Ok(Self { tls, host: host.trim_matches(['[', ']']).to_owned(), port, url })
    }
}

impl Dialer {
    pub(super) fn new(url: String, node: NodeId, extra_ca_pem: Option<String>) -> Self {
        Self { url, node, extra_ca_pem, resolve: Arc::new(connect::system), tls: OnceLock::new() }
    }

    /// Opens a connection. The error is for people, and in our own words.
    pub(super) async fn dial(self: Arc<Self>) -> Result<Box<Socket>, String> {
        let target = Target::parse(&self.url, self.node)?;
        let tcp = connect(&self.resolve, &target.host, target.port).await?;
        // Without it small frames would wait for acknowledgements; a socket that cannot do it works all the same.
        let _ = tcp.set_nodelay(true);
        let carrier: Carrier =
            if target.tls { Either::Right(self.secure(tcp, &target.host).await?) } else { Either::Left(tcp) };
        let request = target.url.into_client_request().map_err(|error| describe(&error))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(limits::RELAY_FRAME))
            .max_frame_size(Some(limits::RELAY_FRAME));
        let (stream, _response) = client_async_with_config(request, carrier, Some(config))
            .await
            .map_err(|error| describe(&error))?;
        Ok(Box::new(Socket::new(stream)))
    }

    async fn secure(
        self: &Arc<Self>,
        tcp: TcpStream,
        host: &str,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| "the relay's host is no name for TLS".to_owned())?;
        let connector = TlsConnector::from(self.tls_config().await?);
        connector.connect(name, tcp).await.map_err(|error| {
            let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match cause {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    format!("the relay's certificate was refused: {why}")
                }
                Some(_) => "the TLS handshake with the relay failed".into(),
                None => format!("the TLS handshake with the relay failed: {}", error.kind()),
            }
        })
    }

    async fn tls_config(self: &Arc<Self>) -> Result<Arc<rustls::ClientConfig>, String> {
        if let Some(config) = self.tls.get() {
            return Ok(config.clone());
        }
        let this = self.clone();
        // Reading the system's certificates blocks on files.
        let config = tokio::task::spawn_blocking(move || tls_config(this.extra_ca_pem.as_deref()))
            .await
            .map_err(|_| "the trusted certificates could not be read".to_owned())??;
        Ok(self.tls.get_or_init(|| Arc::new(config)).clone())
    }
}

/// Trusts the system's certificates (Mozilla's where the system has none) and the extra ones.
fn tls_config(extra_ca_pem: Option<&str>) -> Result<rustls::ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(pem) = extra_ca_pem {
        trust(&mut roots, pem)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Adds the certificates of a PEM text, of which there must be one at least: text without any would otherwise look
/// like a relay with a bad certificate.
fn trust(roots: &mut RootCertStore, pem: &str) -> Result<(), String> {
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "the extra CA is not PEM".to_owned())?;
        roots.add(certificate).map_err(|_| "the extra CA is not a certificate".to_owned())?;
        found = true;
    }
    if found { Ok(()) } else { Err("the extra CA holds no certificate in PEM".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_the_node_id_and_the_right_port() {
        let node = NodeId::from_bytes([0xab; 32]);
        let target = Target::parse("wss://relay.example/ws?region=eu", node).unwrap();
        assert_eq!((target.tls, target.host.as_str(), target.port), (true, "relay.example", 443));
        assert_eq!(target.url, format!("wss://relay.example/ws?region=eu&node={node}"));
        let target = Target::parse("ws://[::1]:8080/ws", node).unwrap();
        assert_eq!((target.tls, target.host.as_str(), target.port), (false, "::1", 8080));
        assert_eq!(target.url, format!("ws://[::1]:8080/ws?node={node}"));
    }

    #[test]
    fn an_extra_ca_without_a_certificate_is_refused_by_name() {
        for (pem, reason) in [
            ("", "the extra CA holds no certificate in PEM"),
            ("ca.pem", "the extra CA holds no certificate in PEM"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "the extra CA is not a certificate",
            ),
        ] {
            assert_eq!(tls_config(Some(pem)).err().as_deref(), Some(reason));
        }
    }

    #[test]
    fn a_url_of_another_kind_is_refused_with_its_reason() {
        let node = NodeId::from_bytes([1; 32]);
        for url in ["http://relay/ws", "relay:80", "", "ws://"] {
            assert!(Target::parse(url, node).is_err(), "{url}");
        }
    }
}
