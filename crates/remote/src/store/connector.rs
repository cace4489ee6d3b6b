//! The HTTP client that the client library sends by: notes what became of each request, and
//! adds the conditions that the library has no parameter for.
//!
//! Headers are added behind the signature. S3 demands a signature of `host` and of the
//! `x-amz-` headers alone, and Google's requests carry a bearer token, so both accept them;
//! Azure signs conditions, and gets none.

use super::exchange::{self, Addition, Broken};
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, header::IF_MATCH, header::IF_NONE_MATCH};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use percent_encoding::percent_decode_str;

/// How a store is told a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    S3,
    Google,
    Azure,
}

#[derive(Debug)]
pub(super) struct Connector(pub(super) Dialect);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // An error says that there is a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Observed { inner, dialect: self.0 }))
    }
}

#[derive(Debug)]
struct Observed {
    inner: HttpClient,
    dialect: Dialect,
}

#[async_trait]
impl HttpService for Observed {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let decoded = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        let is_ours = exchange::with(|exchange| {
            let is_ours = decoded.ends_with(&exchange.path);
            if is_ours {
                let query = request.uri().query().unwrap_or_default().to_owned();
                let method = request.method().clone();
                add(self.dialect, &exchange.addition, &method, &query, request.headers_mut());
            }
            is_ours
        })
        .unwrap_or(false);
        let answer = self.inner.execute(request).await;
        if is_ours {
            exchange::with(|exchange| match &answer {
                Ok(response) => exchange.status = Some(response.status().as_u16()),
                Err(error) => {
                    exchange.status = None;
                    exchange.broken = Some(match error.kind() {
                        HttpErrorKind::Connect => Broken::NotSent,
                        // `Request` is also a connection that was closed before an answer
                        // came: the library calls that not sent, and it may have been.
                        _ => Broken::Perhaps,
                    });
                }
            });
        }
        answer
    }
}

fn add(
    dialect: Dialect,
    addition: &Addition,
    method: &Method,
    query: &str,
    headers: &mut HeaderMap,
) {
    match (addition, dialect) {
        (Addition::OnlyIf(version), Dialect::S3) if *method == Method::DELETE => {
            let tag = version.e_tag.as_deref().and_then(|tag| HeaderValue::from_str(tag).ok());
            // Without a tag nothing may match, rather than anything.
            headers.insert(IF_MATCH, tag.unwrap_or(HeaderValue::from_static("\"\"")));
        }
        (Addition::OnlyIf(version), Dialect::Google) if *method == Method::DELETE => {
            let generation = version.generation.as_deref();
            let value = generation.and_then(|number| HeaderValue::from_str(number).ok());
            let value = value.unwrap_or(HeaderValue::from_static("0"));
            headers.insert("x-goog-if-generation-match", value);
        }
        (Addition::Absent, Dialect::S3)
            if *method == Method::POST && query.starts_with("uploadId=") =>
        {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::*;

    fn added(dialect: Dialect, addition: Addition, method: Method, query: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        add(dialect, &addition, &method, query, &mut headers);
        headers
    }

    #[test]
    fn conditions_are_added_where_the_store_looks_at_them_and_nowhere_else() {
        let only = || Addition::OnlyIf(Version::new(Some("abc".into()), Some("7".into())));
        let headers = added(Dialect::S3, only(), Method::DELETE, "");
        assert_eq!(headers[IF_MATCH], "\"abc\"");
        let headers = added(Dialect::Google, only(), Method::DELETE, "");
        assert_eq!(headers["x-goog-if-generation-match"], "7");
        assert!(added(Dialect::Azure, only(), Method::DELETE, "").is_empty());
        assert!(added(Dialect::S3, only(), Method::PUT, "").is_empty());
        let headers = added(Dialect::S3, Addition::Absent, Method::POST, "uploadId=x");
        assert_eq!(headers[IF_NONE_MATCH], "*");
        assert!(added(Dialect::S3, Addition::Absent, Method::POST, "uploads=").is_empty());
        assert!(added(Dialect::S3, Addition::Absent, Method::PUT, "uploadId=x").is_empty());
    }

    #[test]
    fn a_delete_that_knows_no_version_matches_nothing() {
        let headers = added(Dialect::S3, Addition::OnlyIf(Version::default()), Method::DELETE, "");
        assert_eq!(headers[IF_MATCH], "\"\"");
    }
}
