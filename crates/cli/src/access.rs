//! Who gets in: the keys that `dev` and `serve` check tokens with, and the `token` command. This module must
//! never let `serve` start with a key that nobody chose.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use gateway::{Caller, Expected, Introspection, Issuer, Keys, Location, SigningAlgorithm};

use crate::{args::TokenArgs, data::DataFolder};

/// `iss` and `aud` of tokens that are signed with a secret, unless others are chosen.
const DEFAULT_NAME: &str = "millrace";
/// RFC 7518 section 3.2: a key of HS256 has at least as many bits as its hash, 256.
const MIN_SECRET_BYTES: usize = 32;
const HOUR: Duration = Duration::from_secs(60 * 60);
/// How long the tokens of demo customers are good: a month of development.
pub(crate) const DEMO_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// With what, and whose, tokens are checked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AccessArgs {
    /// A secret that tokens are signed with (HS256); `dev` keeps one in its data folder otherwise.
    #[arg(long, env = "MILLRACE_JWT_SECRET", hide_env_values = true, value_name = "TEXT", conflicts_with = "jwks")]
    jwt_secret: Option<String>,
    /// The public keys that tokens are signed with, a JWK Set: a file, or an https address.
    #[arg(long, env = "MILLRACE_JWKS", value_name = "FILE|URL", requires_all = ["jwt_issuer", "jwt_audience"])]
    jwks: Option<Location>,
    /// The algorithms that keys of the JWK Set may have.
    #[arg(long, env = "MILLRACE_JWT_ALGORITHMS", value_name = "NAME", value_delimiter = ',', default_values_t = SigningAlgorithm::ALL)]
    jwt_algorithms: Vec<SigningAlgorithm>,
    #[command(flatten)]
    names: NameArgs,
    /// Let anonymous callers see the schema too, as `dev` always does.
    #[arg(long, env = "MILLRACE_INTROSPECTION")]
    introspection: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NameArgs {
    /// Who must have issued a token: its `iss` [default, for a secret: millrace].
    #[arg(long, env = "MILLRACE_JWT_ISSUER", value_name = "NAME")]
    jwt_issuer: Option<String>,
    /// For whom a token must be: its `aud` [default, for a secret: millrace].
    #[arg(long, env = "MILLRACE_JWT_AUDIENCE", value_name = "NAME")]
    jwt_audience: Option<String>,
}

impl NameArgs {
    fn expected(&self) -> Expected {
        let or_default = |name: &Option<String>| name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        Expected { issuer: or_default(&self.jwt_issuer), audience: or_default(&self.jwt_audience) }
    }
}

/// What a gateway lets callers in by.
#[derive(Debug)]
pub(crate) struct Access {
    pub keys: Keys,
    /// None in production, and where somebody else issues tokens.
    pub issuer: Option<Issuer>,
    pub introspection: Introspection,
}

impl AccessArgs {
    /// For `serve`: only what was chosen, and nothing that issues tokens.
    pub(crate) async fn for_production(&self) -> anyhow::Result<Access> {
        let keys = match (&self.jwt_secret, &self.jwks) {
            (_, Some(location)) => self.jwks(location).await?,
            (Some(secret), None) if secret.len() < MIN_SECRET_BYTES => {
                bail!("--jwt-secret has {} bytes: take {MIN_SECRET_BYTES} or more, like those of `openssl rand -hex 32`", secret.len())
            }
            (Some(secret), None) => Keys::from_secret(secret.as_bytes(), self.names.expected()),
            (None, None) => bail!(
                "a gateway needs keys to check tokens with: give --jwks FILE|URL with --jwt-issuer and --jwt-audience, \
                 or --jwt-secret, or leave the gateway out of --roles"
            ),
        };
        let introspection = if self.introspection { Introspection::Everybody } else { Introspection::SignedIn };
        Ok(Access { keys, issuer: None, introspection })
    }

    /// For `dev`: issues tokens with the secret that is given, or that of the folder, unless somebody else does.
    pub(crate) async fn for_development(&self, data: &DataFolder) -> anyhow::Result<Access> {
        let introspection = Introspection::Everybody;
        if let Some(location) = &self.jwks {
            return Ok(Access { keys: self.jwks(location).await?, issuer: None, introspection });
        }
        let secret = match &self.jwt_secret {
            Some(secret) => secret.clone().into_bytes(),
            None => data.secret()?,
        };
        let keys = Keys::from_secret(&secret, self.names.expected());
        Ok(Access { keys, issuer: Some(Issuer::from_secret(&secret, self.names.expected())), introspection })
    }

    async fn jwks(&self, location: &Location) -> anyhow::Result<Keys> {
        let keys = Keys::from_jwks(location.clone(), &self.jwt_algorithms, self.names.expected()).await;
        keys.with_context(|| match location {
            Location::File(path) => format!("the JWK Set {} gives no keys", path.display()),
            Location::Url(url) => format!(
                "the JWK Set at {url} gives no keys, and without any nobody could sign in: start again once it does \
                 (certificates are those that this machine trusts, or of the file that SSL_CERT_FILE names)"
            ),
        })
    }
}

/// The `token` command.
#[expect(clippy::print_stdout, reason = "the token is what the command is for")]
pub(crate) fn print_token(args: &TokenArgs) -> anyhow::Result<()> {
    let secret = match &args.jwt_secret {
        Some(secret) => secret.clone().into_bytes(),
        None => read_secret(&args.data.join(crate::data::SECRET))
            .context("give --jwt-secret, or name the folder of a `millrace dev` that was started with --data")?,
    };
    let caller = args.whose.customer.map_or(Caller::Operator, Caller::Customer);
    let token = Issuer::from_secret(&secret, args.names.expected()).issue(caller, HOUR * args.hours);
    println!("{}", token.ok_or_else(|| anyhow!("the token cannot be signed"))?);
    Ok(())
}

/// A secret that lies in a file.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    let secret = fs::read(path).with_context(|| format!("the secret {} cannot be read", path.display()))?;
    if secret.is_empty() {
        bail!("the secret {} is empty: delete it, and start again", path.display());
    }
    Ok(secret)
}
