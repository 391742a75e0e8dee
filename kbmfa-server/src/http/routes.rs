//! The routes for machines, as a table. It determines the handler of a request, its largest body and the
//! credential that it needs.

use kbmfa_proto::login::KEY_BYTES_MAX;
use std::pin::Pin;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::Method;
use warp::reply::Response;

use super::call::{Api, Call};
use super::downloads::{self, Held};
use super::reply;
use super::{BODY_BYTES_MAX, enrolments, logins, machines, sessions};
use crate::logins::Error;
use crate::machines::caller::Credential;
use crate::secret::SecretHash;

/// Largest body of a request that may carry a certificate, in bytes.
const WITH_KEY: usize = BODY_BYTES_MAX + KEY_BYTES_MAX;
/// Largest body from a caller without a credential, in bytes: several times the size of a token and a hash.
const TOKEN_AND_HASH: usize = 4 * 1024;

/// Largest body that has a key and its signature, in bytes: 3,000 and 8,192, the ends of lines escaped.
const KEY_AND_SIGNATURE: usize = 16 * 1024;
/// Largest body of a signed request, in bytes. The request is a text in it, with another key and another signature.
const SIGNED_REQUEST: usize = 32 * 1024;

/// Declares the table of routes. The column "who may call" is a variant of [`Handler`], which determines what
/// a handler learns about the caller. So no handler can forget the check.
macro_rules! routes {
    ($($method:ident $path:literal, $body:ident, $caller:ident => $handler:path;)*) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            body_bytes_max: $body,
            handler: Handler::$caller(|api, caller, call| {
                Box::pin(async move { reply::from($handler(api, caller, call).await) })
            }),
        }),*]
    };
}

static ROUTES: &[Route] = routes! {
    // method and path                   largest body    who may call       handler
    PUT    "/v1/logins/{id}",            WITH_KEY,       MachineOrToken  => logins::open;
    GET    "/v1/logins/{id}",            WITH_KEY,       MachineOrToken  => logins::wait;
    DELETE "/v1/logins/{id}",            WITH_KEY,       MachineOrToken  => logins::cancel;
    POST   "/v1/sessions",               WITH_KEY,       Machine         => sessions::one;
    POST   "/v1/reports",                BODY_BYTES_MAX, Machine         => sessions::batch;
    GET    "/v1/machines/self",          BODY_BYTES_MAX, MachineOrToken  => machines::this_machine;
    POST   "/v1/machines/self/trust",    BODY_BYTES_MAX, Machine         => machines::trust;
    POST   "/v1/machines/join",          TOKEN_AND_HASH, Anybody         => machines::join;
    GET    "/v1/enrolments/challenge",   TOKEN_AND_HASH, Employee        => enrolments::challenge;
    POST   "/v1/enrolments/lookup",      TOKEN_AND_HASH, Employee        => enrolments::lookup;
    POST   "/v1/enrolments",             KEY_AND_SIGNATURE, Employee     => enrolments::enrol;
    POST   "/v1/me",                     SIGNED_REQUEST, Employee        => enrolments::me;
    POST   "/v1/me/progress",            TOKEN_AND_HASH, Employee        => enrolments::progress;
};

/// One route.
struct Route {
    method: Method,
    /// The path. Its last segment may be `{id}`.
    path: &'static str,
    body_bytes_max: usize,
    handler: Handler,
}

/// The handler of a request, by who may send the request.
enum Handler {
    /// A machine that has joined.
    Machine(Answer<SecretHash>),
    /// A machine that has joined, or a host that has the `AUTH_TOKEN`.
    MachineOrToken(Answer<Credential>),
    /// Everybody. The body must contain a proof.
    Anybody(Answer<()>),
    /// An employee's own computer. The body contains a proof, and its connection is one of enrolment.
    Employee(Answer<()>),
}

type Answer<Caller> = fn(Api, Caller, Call) -> Pin<Box<dyn Future<Output = Response> + Send>>;

/// The routes of this path, one for each method, and the value of its `{id}`.
fn of_path(path: &str) -> impl Iterator<Item = (&'static Route, &str)> {
    ROUTES.iter().filter_map(move |route| Some((route, id(route.path, path)?)))
}

/// The value of the pattern's `{id}` in `path`, empty if the pattern has none; `None` if the path does not
/// match.
fn id<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    match pattern.strip_suffix("{id}") {
        None => (pattern == path).then_some(""),
        Some(before) => path.strip_prefix(before).filter(|id| !id.is_empty() && !id.contains('/')),
    }
}

/// Largest body of a request with this path, in bytes.
pub(super) fn body_bytes_max(path: &str) -> usize {
    of_path(path).map(|(route, _)| route.body_bytes_max).max().unwrap_or(BODY_BYTES_MAX)
}

/// True if requests with this path need no credential.
pub(super) fn are_for_anybody(path: &str) -> bool {
    of_path(path).any(|(route, _)| matches!(route.handler, Handler::Anybody(_)))
}

/// True if requests with this path come from employees' computers.
pub(super) fn are_for_employees(path: &str) -> bool {
    of_path(path).any(|(route, _)| matches!(route.handler, Handler::Employee(_)))
}

/// Answers each request by the table.
pub fn routes(api: Api) -> BoxedFilter<(Response,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let call = query.and(warp::ext::optional()).and(warp::body::bytes());
    let call = call.map(|query, peer, body| Call { id: String::new(), query, peer, body });
    let who = warp::ext::optional().and(warp::ext::optional());
    let request = warp::method().and(warp::path::full()).and(who).and(call);
    let answered = request.then(move |method: Method, path: FullPath, who, held: Option<Held>, call| {
        let api = api.clone();
        async move {
            match downloads::name_in(path.as_str()) {
                Some(_) if method != Method::GET => reply::method_not_allowed(),
                Some(name) => {
                    let directory = api.settings.borrow().downloads.clone();
                    downloads::answer(directory, name, held).await
                }
                None => answer(api, method, path, who, call).await,
            }
        }
    });
    answered.recover(reply::no_route).unify().boxed()
}

async fn answer(api: Api, method: Method, path: FullPath, who: Option<Credential>, call: Call) -> Response {
    let mut of_path = of_path(path.as_str()).peekable();
    if of_path.peek().is_none() {
        return reply::not_found();
    }
    let Some((route, id)) = of_path.find(|(route, _)| route.method == method) else {
        return reply::method_not_allowed();
    };
    let call = Call { id: id.to_owned(), ..call };
    let refused = match (&route.handler, who) {
        (Handler::Anybody(handler) | Handler::Employee(handler), _) => return handler(api, (), call).await,
        (Handler::MachineOrToken(handler), Some(who)) => return handler(api, who, call).await,
        (Handler::Machine(handler), Some(Credential::Own(who))) => return handler(api, who, call).await,
        (Handler::Machine(_), Some(Credential::Token(_))) => Error::OnlyLogins,
        (Handler::Machine(_) | Handler::MachineOrToken(_), None) => Error::Unauthorized,
    };
    reply::from::<()>(Err(refused.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_as_a_whole() {
        for (path, expected) in [
            ("/v1/logins/abc", Some("abc")),
            ("/v1/logins/", None),
            ("/v1/logins/abc/", None),
            ("/v1/logins/a/b", None),
            ("/v1/machines/self", Some("")),
            ("/v1/machines/self/trust", Some("")),
            ("/v1/machines", None),
            ("/v1/machines/selfish", None),
        ] {
            assert_eq!(of_path(path).next().map(|(_, id)| id), expected, "{path}");
        }
    }

    #[test]
    fn strangers_have_one_route_and_the_smallest_body() {
        let open: Vec<_> =
            ROUTES.iter().filter(|route| are_for_anybody(route.path)).map(|route| route.path).collect();
        assert_eq!(open, ["/v1/machines/join"]);
        assert!(ROUTES.iter().all(|route| route.body_bytes_max >= body_bytes_max(open[0])));
    }

    #[test]
    fn employees_computers_have_connections_of_their_own_on_each_of_their_routes() {
        for route in ROUTES {
            let is_theirs = route.path.starts_with("/v1/enrolments") || route.path.starts_with("/v1/me");
            assert_eq!(are_for_employees(route.path), is_theirs, "{}", route.path);
        }
    }

    #[test]
    fn the_largest_key_and_signature_fit_their_bodies() {
        use kbmfa_proto::enrolment::{Enrol, Invite, KEY_LINE_MAX, Request, Signed};
        use kbmfa_proto::sshsig::SIGNATURE_MAX;
        let (key, line) = ("k".repeat(KEY_LINE_MAX), format!("{}\n", "s".repeat(70)));
        let signature = line.repeat(SIGNATURE_MAX / line.len());
        let invite = Invite { id: "i".repeat(20), secret: "s".repeat(40), email: "e".repeat(254) };
        let (server, nonce, fingerprint) = ("s".repeat(253), "n".repeat(75), "f".repeat(50));
        let enrol = Enrol {
            invite,
            server: server.clone(),
            nonce: nonce.clone(),
            key: key.clone(),
            device: "d".repeat(64).as_str().into(),
            replaces: Some(fingerprint.clone()),
            password_hash: Some("p".repeat(300)),
            signature: signature.clone(),
        };
        assert!(serde_json::to_vec(&enrol).unwrap().len() < body_bytes_max("/v1/enrolments"));
        let (device, replaces) = (enrol.device, Some(fingerprint.clone()));
        let add = Request::Add { key, device, replaces, proof: signature.clone() };
        let request = serde_json::to_string(&add).unwrap();
        let signed = Signed { key: fingerprint, server, nonce, request, signature };
        assert!(serde_json::to_vec(&signed).unwrap().len() < body_bytes_max("/v1/me"));
    }

    #[test]
    fn the_server_has_exactly_the_routes_of_the_protocol_page() {
        let page = include_str!("../../../docs/protocol.md");
        let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let told = cells.filter(|(cell, _)| cell.contains(" /v1/"));
        let told: Vec<_> = told.map(|(cell, _)| cell.split('?').next().unwrap().to_owned()).collect();
        let known: Vec<_> = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        assert_eq!(told, known);
    }
}
