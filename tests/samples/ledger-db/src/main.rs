//! Books amounts on accounts in PostgreSQL, all or nothing, and prints the balances.

use std::collections::BTreeMap;
use std::env;

use anyhow::{bail, Context, Result};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio_postgres::{Client, NoTls};

const SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS accounts (name text PRIMARY KEY, cents bigint NOT NULL)";
const BOOK: &str = "INSERT INTO accounts (name, cents) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET cents = accounts.cents + excluded.cents";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    account: String,
    cents: i64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut text = String::new();
    tokio::io::stdin().read_to_string(&mut text).await?;
    let changes = changes(&text)?;
    let url = env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls)
        .await
        .context("cannot connect")?;
    let connection = tokio::spawn(connection);
    book(&mut client, &changes).await?;
    for row in client
        .query("SELECT name, cents FROM accounts ORDER BY name", &[])
        .await?
    {
        println!("{:20} {:>12}", row.get::<_, &str>(0), amount(row.get(1)));
    }
    drop(client);
    connection.await??;
    Ok(())
}

/// Sums the entries by account; refuses a list whose sum is not zero, as every amount comes from somewhere.
fn changes(text: &str) -> Result<BTreeMap<String, i64>> {
    let entries: Vec<Entry> =
        serde_json::from_str(text).context("stdin is not a list of entries")?;
    let mut changes = BTreeMap::new();
    for entry in entries {
        let cents: &mut i64 = changes.entry(entry.account).or_default();
        *cents = cents.checked_add(entry.cents).context("amount too large")?;
    }
    let sum: i128 = changes.values().map(|&cents| i128::from(cents)).sum();
    if sum != 0 {
        bail!("the entries do not balance: {sum} cents are left");
    }
    Ok(changes)
}

async fn book(client: &mut Client, changes: &BTreeMap<String, i64>) -> Result<()> {
    client.batch_execute(SCHEMA).await?;
    let transaction = client.transaction().await?;
    for (account, cents) in changes {
        transaction.execute(BOOK, &[account, cents]).await?;
    }
    transaction.commit().await?;
    Ok(())
}

fn amount(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_account_and_refuses_what_does_not_balance() {
        let text = r#"[
            {"account": "rent", "cents": 700},
            {"account": "bank", "cents": -500},
            {"account": "bank", "cents": -200}
        ]"#;
        let expected = BTreeMap::from([("bank".to_owned(), -700), ("rent".to_owned(), 700)]);
        assert_eq!(changes(text).unwrap(), expected);
        let error = changes(r#"[{"account": "rent", "cents": 1}]"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the entries do not balance: 1 cents are left"
        );
    }

    #[test]
    fn writes_amounts_with_two_places() {
        assert_eq!([amount(-705), amount(5)], ["-7.05", "0.05"]);
    }
}
