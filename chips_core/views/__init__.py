"""What a page shows, as plain tables and numbers; no Streamlit."""
