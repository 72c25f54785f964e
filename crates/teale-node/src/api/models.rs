//! `GET /v1/models`: answered from memory, so a dead peer cannot make it wait.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use teale_cluster::{AskError, ModelView};
use teale_wire::model_matches;

use super::{Api, chunks::unix_now, errors::ApiError};

#[derive(Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Entry>,
}

/// OpenAI's model object.
#[derive(Serialize)]
pub(super) struct Entry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

impl Entry {
    pub(super) fn of(model: ModelView, created: u64) -> Self {
        Self { owned_by: if model.local { "local" } else { "teale" }, id: model.id, object: "model", created }
    }
}

impl List {
    pub(super) fn of(models: impl IntoIterator<Item = ModelView>, created: u64) -> Self {
        let mut data: Vec<_> = models.into_iter().map(|model| Entry::of(model, created)).collect();
        data.sort_by(|a, b| a.id.cmp(&b.id));
        Self { object: "list", data }
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Response {
    Json(List::of(api.cluster.models(), since(&api))).into_response()
}

pub(super) async fn retrieve(
    State(api): State<Arc<Api>>,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(id)) = id else {
        return ApiError::invalid(Some("id".into()), "The model's id is not valid UTF-8.").into_response();
    };
    let models = api.cluster.models();
    let exact = models.iter().find(|model| model.id == id);
    match exact.or_else(|| models.iter().find(|model| model_matches(&id, &model.id))) {
        Some(model) => Json(Entry::of(model.clone(), since(&api))).into_response(),
        None => ApiError::from_ask(&AskError::ModelNotFound, &id).into_response(),
    }
}

/// The node does not know when a model was made; its own start is a date that stays the same.
fn since(api: &Api) -> u64 {
    unix_now().saturating_sub(api.started.elapsed().as_secs())
}
