//! Serves notes over HTTP, until it is interrupted.

use std::env;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use notes::{Draft, Note, Notebook};
use tokio::net::TcpListener;

type Shared = Arc<Mutex<Notebook>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = env::var("NOTES_ADDRESS").unwrap_or_else(|_| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, router(Shared::default()))
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await
}

fn router(notebook: Shared) -> Router {
    Router::new()
        .route("/notes", get(list).post(create))
        .route("/notes/{id}", get(read))
        .with_state(notebook)
}

async fn list(State(notebook): State<Shared>) -> Json<Vec<Note>> {
    Json(
        notebook
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .all(),
    )
}

async fn read(
    State(notebook): State<Shared>,
    Path(id): Path<u64>,
) -> Result<Json<Note>, StatusCode> {
    let notebook = notebook.lock().unwrap_or_else(PoisonError::into_inner);
    notebook
        .get(id)
        .cloned()
        .map(Json)
        .ok_or(StatusCode::NOT_FOUND)
}

async fn create(
    State(notebook): State<Shared>,
    Json(draft): Json<Draft>,
) -> Result<(StatusCode, Json<Note>), StatusCode> {
    let mut notebook = notebook.lock().unwrap_or_else(PoisonError::into_inner);
    let note = notebook
        .add(draft)
        .ok_or(StatusCode::UNPROCESSABLE_ENTITY)?;
    Ok((StatusCode::CREATED, Json(note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_what_was_created() {
        let notebook = Shared::default();
        let draft = Draft {
            text: "buy milk".into(),
        };
        let (status, Json(note)) = create(State(notebook.clone()), Json(draft)).await.unwrap();
        assert_eq!(status, StatusCode::CREATED);
        let Json(found) = read(State(notebook.clone()), Path(note.id)).await.unwrap();
        assert_eq!(found, note);
        let missing = read(State(notebook), Path(99)).await;
        assert_eq!(missing.err(), Some(StatusCode::NOT_FOUND));
    }
}
