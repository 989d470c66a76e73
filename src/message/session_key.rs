//! session_key
