use super::double::{Double, answer, ca_file};
use super::*;
use crate::outgoing::addresses::is_refused;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

fn client() -> Client {
    Client::new(&Settings { ca_file: Some(ca_file()), allow_http: false }).expect("a client")
}

fn told(answers: &[&[&str]], allow_http: bool) -> Client {
    let answers = answers.iter().map(|one| one.iter().map(|a| a.parse().expect("an address")).collect::<Vec<SocketAddr>>()).collect();
    let settings = Settings { ca_file: Some(ca_file()), allow_http };
    Client::with_resolver(&settings, Resolve::Told(Arc::new(Mutex::new(answers)))).expect("a client")
}

async fn code(client: &Client, request: Request) -> &'static str {
    client.send(request).await.map_or_else(|failure| failure.code(), |_| "answered")
}

#[tokio::test]
async fn methods_headers_and_bodies_arrive_and_come_back() {
    let server = Double::http(|asked| answer(201, &[("x-kind", "echo")], asked.body.clone())).await;
    for method in [Method::POST, Method::PUT] {
        let request = Request::new(method, &format!("{}/a/b?c=d", server.base)).expect("a request");
        let request = request.header(hyper::header::ACCEPT, "text/csv").expect("a header").body(Bytes::from_static(b"hello"));
        let got = client().send(request).await.expect("an answer");
        assert_eq!((got.status.as_u16(), &got.body[..]), (201, &b"hello"[..]));
        assert_eq!(got.headers["x-kind"], "echo");
    }
    let got = client().send(Request::get(&server.base).expect("a request")).await.expect("an answer");
    assert_eq!(&got.body[..], b"");
    let asked = server.asked();
    assert_eq!(asked.iter().map(|a| (a.method.as_str(), a.path.as_str())).collect::<Vec<_>>(), [("POST", "/a/b?c=d"), ("PUT", "/a/b?c=d"), ("GET", "/")]);
    assert_eq!(asked[0].headers["accept"], "text/csv");
    assert!(asked[2].headers["user-agent"].to_str().expect("text").starts_with("alertmill/"));
}

#[tokio::test]
async fn a_client_keeps_its_connection() {
    let server = Double::https(|_| answer(200, &[], "x")).await;
    let client = client();
    for _ in 0..5 {
        assert_eq!(client.send(Request::get(&server.base).expect("a request")).await.expect("an answer").status.as_u16(), 200);
    }
    assert_eq!((server.connections(), server.asked().len()), (1, 5));
}

#[tokio::test]
async fn only_a_certificate_of_a_known_authority_for_that_very_host_is_trusted() {
    let server = Double::https(|_| answer(200, &[], "secret")).await;
    for host in ["localhost", "127.0.0.1"] {
        let got = client().send(Request::get(&format!("https://{host}:{}/", server.port)).expect("a request")).await;
        assert_eq!(&got.expect("an answer").body[..], b"secret", "{host}");
    }
    let stranger = Client::new(&Settings::default()).expect("a client");
    assert_eq!(code(&stranger, Request::get(&server.base).expect("a request")).await, "untrusted");
    let other_name = told(&[&[&format!("127.0.0.1:{}", server.port)]], false);
    let failure = other_name.send(Request::get(&format!("https://tables.example:{}/", server.port)).expect("a request")).await.expect_err("another name");
    assert_eq!(failure.code(), "untrusted", "{failure}");
    assert!(failure.to_string().contains("tables.example"), "{failure}");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_server_without_tls_gets_nothing_of_an_https_request() {
    let server = Double::http(|_| answer(200, &[], "x")).await;
    let request = Request::get(&format!("https://127.0.0.1:{}/", server.port)).expect("a request");
    assert_ne!(code(&client(), request.secret(hyper::header::AUTHORIZATION, "Bearer abc").expect("a header")).await, "answered");
    assert!(server.asked().is_empty());
}

#[test]
fn a_ca_file_that_holds_none_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("ca.pem");
    for content in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, content).expect("written");
        let failure = Client::new(&Settings { ca_file: Some(file.clone()), allow_http: false }).expect_err("no authority");
        assert!(failure.code() == "bad-ca-file" && failure.to_string().contains("ca.pem"), "{failure}");
    }
    assert_eq!(Client::new(&Settings { ca_file: Some(dir.path().join("none")), allow_http: false }).expect_err("no file").code(), "bad-ca-file");
}

#[tokio::test]
async fn plain_http_reaches_loopback_only_unless_it_is_allowed() {
    let server = Double::http(|_| answer(200, &[], "x")).await;
    let url = format!("http://somewhere.example:{}/", server.port);
    let loopback = format!("127.0.0.1:{}", server.port);
    assert_eq!(code(&told(&[&[&loopback]], false), Request::get(&url).expect("a request")).await, "answered");
    // TEST-NET-1 is nobody's; it must not even be tried.
    assert_eq!(code(&told(&[&["192.0.2.1:80"]], false), Request::get(&url).expect("a request")).await, "plain-http");
    assert_eq!(code(&told(&[&["10.0.0.1:80"]], false), Request::get(&url).expect("a request")).await, "plain-http");
    // One of several addresses is as good as another, if it may be connected to.
    assert_eq!(code(&told(&[&["192.0.2.1:80", "169.254.1.1:80", &loopback]], false), Request::get(&url).expect("a request")).await, "answered");
    assert_eq!(server.connections(), 2);
}

#[test]
fn addresses_that_no_call_means_are_refused_and_private_ones_are_not() {
    let refused = "0.0.0.0 0.1.2.3 169.254.169.254 169.254.0.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 100.100.100.200 \
        168.63.129.16 192.0.0.192 :: fe80::1 febf::1 ff02::1 fd00:ec2::254 ::ffff:169.254.169.254 ::169.254.169.254 \
        64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe 2002:a9fe:a9fe::1 ::ffff:0.0.0.0";
    for address in refused.split_whitespace() {
        assert!(is_refused(address.parse::<IpAddr>().expect("an address")), "{address}");
    }
    let allowed = "127.0.0.1 127.255.0.1 ::1 10.0.0.1 172.16.0.1 192.168.1.1 100.64.0.1 8.8.8.8 fd00::1 fc00::1 2001:db8::1 ::ffff:10.0.0.1 \
        64:ff9b::808:808";
    for address in allowed.split_whitespace() {
        assert!(!is_refused(address.parse::<IpAddr>().expect("an address")), "{address}");
    }
}

/// Forms in which a refused address, or no HTTP at all, can be written. None may lead to a connection.
const HOSTILE_URLS: [&str; 61] = [
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/",
    "http://169.254.169.254:80/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0xA9.0xFE.0xA9.0xFE/",
    "http://0251.0376.0251.0376/",
    "http://025177524776/",
    "http://169.254.43518/",
    "http://169.16689662/",
    "http://0251.254.169.254/",
    "http://169.0376.0xa9.254/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    "http://[::169.254.169.254]/",
    "http://[::a9fe:a9fe]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[fd00:ec2::254]/",
    "http://[fd00:0ec2:0:0:0:0:0:254]/",
    "http://[fe80::1]/",
    "http://[FE80::A9FE:A9FE]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[ff02::1]/",
    "http://[ff05::1:3]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:0]/",
    "http://[::ffff:0.0.0.0]/",
    "http://0/",
    "http://0.0.0.0/",
    "http://0.0.0.0:9280/",
    "http://0x0/",
    "http://00000/",
    "http://0.0/",
    "http://255.255.255.255/",
    "http://4294967295/",
    "http://224.0.0.1/",
    "http://239.255.255.250:1900/",
    "http://240.0.0.1/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://127.0.0.1@169.254.169.254/",
    "http://user:password@127.0.0.1/",
    "http://169.254.169.254\\@127.0.0.1/",
    "http://169.254.169.254%2f@127.0.0.1/",
    "http://%31%36%39.254.169.254/",
    "http://127.0.0.1:99999/",
    "http:///etc/passwd",
    "http://",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "ftp://127.0.0.1/",
    "unix:///var/run/docker.sock",
    "//169.254.169.254/",
    "/latest/meta-data",
    "http://127.0.0.1\r\nHost: x/",
    "http://127.0.0.1 /",
];

#[tokio::test]
async fn no_form_of_a_refused_address_is_connected_to() {
    let client = Client::new(&Settings { ca_file: None, allow_http: true }).expect("a client");
    for url in HOSTILE_URLS {
        let code = match Request::get(url) {
            Ok(request) => code(&client, request.deadline(Duration::from_secs(20))).await,
            Err(failure) => failure.code(),
        };
        assert!(matches!(code, "bad-url" | "address-refused"), "{url:?} ended as {code}");
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_judged_by_what_is_connected_to() {
    let server = Double::http(|_| answer(200, &[("connection", "close")], "x")).await;
    let loopback = format!("127.0.0.1:{}", server.port);
    // Good at first, the metadata service from then on.
    let client = told(&[&[&loopback], &["169.254.169.254:80"]], true);
    let url = format!("http://tables.example:{}/", server.port);
    assert_eq!(code(&client, Request::get(&url).expect("a request")).await, "answered");
    let failure = client.send(Request::get(&url).expect("a request")).await.expect_err("another address");
    assert_eq!(failure.code(), "address-refused");
    assert!(failure.to_string().contains("169.254.169.254"), "{failure}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_refused_whatever_the_head_says() {
    let big = "x".repeat(1001);
    let sized = format!("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n{big}");
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{big}\r\n0\r\n\r\n");
    let until_closed = format!("HTTP/1.1 200 OK\r\n\r\n{big}");
    for (form, bytes) in [("sized", sized), ("chunked", chunked), ("until closed", until_closed)] {
        let server = Double::raw(bytes).await;
        let asked = |max| Request::get(&server.base).expect("a request").answer_max(max);
        assert_eq!(code(&client(), asked(1000)).await, "answer-too-large", "{form}");
        assert_eq!(client().send(asked(1001)).await.expect("an answer").body.len(), 1001, "{form}");
    }
    // What is only announced is refused before it comes.
    let server = Double::raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").await;
    assert_eq!(code(&client(), Request::get(&server.base).expect("a request")).await, "answer-too-large");
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_no_http_is_no_answer() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"\x00\x01\x02\x03",
        b"",
    ] {
        let server = Double::raw(bytes).await;
        assert_eq!(code(&client(), Request::get(&server.base).expect("a request")).await, "broken-answer", "{:?}", String::from_utf8_lossy(bytes));
    }
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(4 * HEAD_MAX));
    let server = Double::raw(head).await;
    assert_eq!(code(&client(), Request::get(&server.base).expect("a request")).await, "broken-answer");
}

#[tokio::test]
async fn a_deadline_holds_for_a_server_that_says_nothing() {
    let server = Double::silent().await;
    let request = Request::get(&server.base).expect("a request").deadline(Duration::from_millis(50));
    assert_eq!(code(&client(), request).await, "deadline-passed");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn nobody_listens() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let failure = client().send(Request::get(&format!("http://127.0.0.1:{port}/")).expect("a request")).await.expect_err("nobody");
    assert!(failure.code() == "unreachable" && failure.may_pass(), "{failure}");
}

#[tokio::test]
async fn redirects_are_answers_unless_they_are_asked_for() {
    let server = Double::http(|asked| match asked.path.as_str() {
        "/a" => answer(302, &[("location", "/b")], ""),
        "/b" => answer(307, &[("location", "c?d=e")], ""),
        "/c?d=e" => answer(200, &[], "there"),
        _ => answer(301, &[("location", "/round")], ""),
    })
    .await;
    let get = |path: &str| Request::get(&format!("{}{path}", server.base)).expect("a request");
    assert_eq!(client().send(get("/a")).await.expect("an answer").status.as_u16(), 302);
    let got = client().send(get("/a").redirects(2)).await.expect("an answer");
    assert_eq!((&got.body[..], got.url.path()), (&b"there"[..], "/c"));
    assert_eq!(code(&client(), get("/a").redirects(1)).await, "redirect-refused");
    assert_eq!(code(&client(), get("/round").redirects(2)).await, "redirect-refused");
    let posted = Request::new(Method::POST, &format!("{}/a", server.base)).expect("a request").redirects(2);
    assert_eq!(client().send(posted).await.expect("an answer").status.as_u16(), 302);
}

#[tokio::test]
async fn secrets_never_reach_another_origin() {
    let other = Double::http(|_| answer(200, &[], "")).await;
    let (to_other, own) = (format!("{}/blob", other.base), "/blob".to_owned());
    let server = Double::http(move |asked| match asked.path.as_str() {
        "/far" => answer(302, &[("location", &to_other)], ""),
        "/near" => answer(302, &[("location", &own)], ""),
        _ => answer(200, &[], ""),
    })
    .await;
    let get = |path: &str| {
        let request = Request::get(&format!("{}{path}", server.base)).expect("a request").redirects(2);
        let request = request.header(hyper::header::ACCEPT, "text/csv").expect("a header");
        request.secret(hyper::header::AUTHORIZATION, "Bearer s3cret").expect("a header").secret(HeaderName::from_static("x-token"), "t0ken").expect("a header")
    };
    for path in ["/far", "/near"] {
        assert_eq!(code(&client(), get(path)).await, "answered");
    }
    let authorizations: Vec<String> = server.asked().iter().map(|asked| asked.authorization.clone()).collect();
    assert_eq!(authorizations, ["Bearer s3cret"; 3]);
    let far = other.asked();
    assert_eq!((far.len(), far[0].authorization.as_str(), far[0].headers.contains_key("x-token"), far[0].headers.contains_key("accept")), (1, "", false, true));
}

#[tokio::test]
async fn https_is_not_left_and_a_refused_address_is_none_to_be_sent_on_to() {
    let plain = Double::http(|_| answer(200, &[], "")).await;
    let to_plain = plain.base.clone();
    let server = Double::https(move |asked| match asked.path.as_str() {
        "/plain" => answer(302, &[("location", &to_plain)], ""),
        "/metadata" => answer(302, &[("location", "https://169.254.169.254/latest")], ""),
        "/file" => answer(302, &[("location", "file:///etc/passwd")], ""),
        _ => answer(302, &[("location", "//user:password@localhost/")], ""),
    })
    .await;
    for (path, expected) in [("/plain", "redirect-refused"), ("/metadata", "address-refused"), ("/file", "bad-url"), ("/user", "bad-url")] {
        let request = Request::get(&format!("{}{path}", server.base)).expect("a request").redirects(2);
        assert_eq!(code(&client(), request).await, expected, "{path}");
    }
    assert_eq!(plain.connections(), 0);
}

#[tokio::test]
async fn what_is_secret_is_in_no_words() {
    let server = Double::http(|_| answer(302, &[("location", "https://elsewhere.example/?sig=s3cret")], "")).await;
    let url = format!("{}/t?key=s3cret", server.base);
    let request = Request::get(&url).expect("a request").secret(hyper::header::AUTHORIZATION, "Bearer s3cret").expect("a header").answer_max(0);
    let mut words = format!("{request:?}");
    let silent = Double::silent().await;
    let late = Request::get(&format!("{}/t?key=s3cret", silent.base)).expect("a request");
    let unresolvable = told(&[&["0.0.0.0:1"]], false);
    for failure in [
        unresolvable.send(request.clone().redirects(1)).await.expect_err("refused"),
        told(&[&[&format!("127.0.0.1:{}", server.port)], &["0.0.0.0:1"]], false).send(request.clone().redirects(1)).await.expect_err("refused"),
        client().send(late.deadline(Duration::from_millis(20))).await.expect_err("late"),
        Request::get("https://user:s3cret@host/").expect_err("a password"),
        Request::get("https://ho st/s3cret").expect_err("no URL"),
        request.secret(HeaderName::from_static("x-token"), "s3cret\n").expect_err("a line break"),
    ] {
        words.push_str(&format!("\n{failure} {failure:?}"));
    }
    assert!(!words.contains("s3cret"), "{words}");
    assert!(words.contains("authorization"), "{words}");
}

#[test]
fn relative_addresses_mean_what_they_mean_in_an_answer() {
    let base = parse_url("https://host:5000/v2/a/b?x=y").expect("a URL");
    for (reference, meant) in [
        ("/v2/c?d=e", "https://host:5000/v2/c?d=e"),
        ("c", "https://host:5000/v2/a/c"),
        ("?q=1", "https://host:5000/v2/a/b?q=1"),
        ("//other/c", "https://other/c"),
        ("http://other:1/c?u=http://x", "http://other:1/c?u=http://x"),
        ("c?u=http://x", "https://host:5000/v2/a/c?u=http://x"),
    ] {
        assert_eq!(join(&base, reference).expect("a URL").to_string(), meant, "{reference}");
    }
    for reference in ["mailto:a@b", "javascript:1", "https://", "//user@other/"] {
        assert!(join(&base, reference).is_err(), "{reference}");
    }
}
