//! A handler that only sleeps for as long as the request says, behind the server's own accept loop. It shows
//! the cost of TLS, HTTP and the loop without a login.

use hyper::body::Bytes;
use kbmfa_proto::login::{LoginReply, State};
use kbmfa_proto::names::LoginId;
use kbmfa_server::config::Config;
use kbmfa_server::http::connections::Limits;
use kbmfa_server::http::listen::{self, Listener};
use kbmfa_server::http::tls;
use kbmfa_server::progress::Registry;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use warp::Filter;
use warp::reply::Reply;

/// Serves until the process is killed.
pub(crate) fn run(config: &Path, port: u16) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(serve(&Config::read(config).unwrap(), port));
}

async fn serve(config: &Config, port: u16) {
    let (_certificate, tls) = watch::channel(tls::load(&config.http).unwrap().config);
    let (_close, closing) = watch::channel(false);
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let routes = warp::path!("v1" / "logins" / String).and(query).and(warp::body::bytes()).then(answer);
    // No connection proves a credential here, and none must be evicted.
    let many = 1_000_000;
    let unproven_time = Duration::from_secs(86_400);
    let limits = Limits { unproven: many, unproven_per_source: many, unproven_time, ..config.http.limits };
    let door = Listener {
        socket: listen::bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap(),
        tls: Some(tls),
        routes: routes.map(Reply::into_response).boxed(),
        gate: None,
        limits,
        seen: Arc::default(),
    };
    let progress = Registry::default().register("bare", Duration::MAX);
    door.serve(closing, progress).await;
}

async fn answer(id: String, query: String, _: Bytes) -> impl Reply {
    let seconds = query.strip_prefix("wait=").map_or(0, |wait| wait.parse().unwrap());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let id: LoginId = id.parse().unwrap();
    let (state, left) = (State::Pending, Some(60_000));
    warp::reply::json(&LoginReply { id, state, reason: None, say: None, expires_in_ms: left, held_ms: None })
}
