//! A server for tests, in this process: it answers what the test says, with TLS or without, and writes down what it was asked.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the server was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// The `Authorization` header, or nothing.
    pub authorization: String,
    /// Headers.
    pub headers: hyper::HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What is answered to what.
type Answers = Arc<dyn Fn(&Asked) -> Response<Bytes> + Send + Sync>;

/// A server; it ends with the runtime that it was started on.
#[derive(Clone)]
pub struct Double {
    /// `http://127.0.0.1:PORT` or `https://localhost:PORT`.
    pub base: String,
    /// Its port.
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
}

/// The authority that signed the certificate of the `https` doubles.
pub fn ca_file() -> PathBuf {
    fixture("ca.pem")
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/outgoing/fixtures").join(name)
}

impl Double {
    /// Plain HTTP; `answer` says what is answered.
    pub async fn http(answer: impl Fn(&Asked) -> Response<Bytes> + Send + Sync + 'static) -> Double {
        Double::start(None, Arc::new(answer)).await
    }

    /// With TLS, for `localhost`, `127.0.0.1` and `::1`.
    pub async fn https(answer: impl Fn(&Asked) -> Response<Bytes> + Send + Sync + 'static) -> Double {
        let chain = CertificateDer::pem_file_iter(fixture("server.pem")).and_then(Iterator::collect::<Result<Vec<_>, _>>).expect("the certificate");
        let key = PrivateKeyDer::from_pem_file(fixture("server.key")).expect("its key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let config = config.with_no_client_auth().with_single_cert(chain, key).expect("certificate and key");
        Double::start(Some(TlsAcceptor::from(Arc::new(config))), Arc::new(answer)).await
    }

    /// Reads a request's head, writes these bytes, and closes.
    pub async fn raw(bytes: impl Into<Vec<u8>>) -> Double {
        let (listener, double) = Double::listen("http", "127.0.0.1").await;
        let (connections, bytes) = (double.connections.clone(), bytes.into());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|n| n > 0) {}
                // The client may have gone already, which is its right.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        });
        double
    }

    /// Takes connections and never says anything.
    pub async fn silent() -> Double {
        let (listener, double) = Double::listen("http", "127.0.0.1").await;
        let connections = double.connections.clone();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                held.push(stream);
            }
        });
        double
    }

    /// What it was asked so far.
    pub fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().expect("no test panics with it")
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn listen(scheme: &str, host: &str) -> (TcpListener, Double) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let base = format!("{scheme}://{host}:{port}");
        (listener, Double { base, port, asked: Arc::default(), connections: Arc::default() })
    }

    async fn start(tls: Option<TlsAcceptor>, answer: Answers) -> Double {
        let (scheme, host) = if tls.is_some() { ("https", "localhost") } else { ("http", "127.0.0.1") };
        let (listener, double) = Double::listen(scheme, host).await;
        let started = double.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                started.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(started.clone().connection(tls.clone(), stream, answer.clone()));
            }
        });
        double
    }

    async fn connection(self, tls: Option<TlsAcceptor>, stream: TcpStream, answer: Answers) {
        match tls {
            None => self.serve(stream, answer).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    self.serve(stream, answer).await;
                }
            }
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answers) {
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let (asked, answer) = (self.asked.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let authorization = head.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
                let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
                let one = Asked { method: head.method.to_string(), path, authorization, headers: head.headers, body };
                asked.lock().expect("no test panics with it").push(one.clone());
                Ok::<_, Infallible>(answer(&one).map(Full::new))
            }
        });
        // A client that goes away ends the connection; that is no failure of the server.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

/// An answer of this status, with headers and a body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).expect("an answer")
}
