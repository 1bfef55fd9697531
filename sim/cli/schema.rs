//! `bellhop-sim schema`: the grammar of scenario files as a JSON Schema, for editors.

/// Prints it. `scenarios/schemas/scenario.v1.json` is this.
pub(super) fn schema() -> anyhow::Result<u8> {
    super::print(&format!("{:#}\n", bellhop_scenario::schema())).map(|()| 0)
}
