//! What can be said of a rule before it is ever asked: names, functions, and fields that the schema does not have.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue};

use super::functions;
use super::value::unescape;
use crate::schema::Node;

/// What is known of a name or an expression: its schema, or nothing.
type Known<'a> = Option<&'a Node>;

/// Whether an expression speaks of a name.
pub(super) fn mentions(expression: &IdedExpr, name: &str) -> bool {
    match &expression.expr {
        Expr::Ident(known) => known == name,
        _ => children(expression).into_iter().any(|child| mentions(child, name)),
    }
}

/// Refuses what no server could evaluate.
pub(super) fn check(program: &IdedExpr, node: &Node, optional_old: bool) -> Result<(), String> {
    let names = vec![("self".to_owned(), Some(node)), ("oldSelf".to_owned(), Some(node).filter(|_| !optional_old))];
    let shape = walk(program, &names)?;
    let no_truth = match &program.expr {
        Expr::Literal(literal) => !matches!(literal, LiteralValue::Boolean(_)),
        Expr::List(_) | Expr::Map(_) => true,
        Expr::Call(call) => functions::is_no_truth(&call.func_name),
        // `map` and `filter` make lists.
        Expr::Comprehension(fold) => matches!(fold.accu_init.expr, Expr::List(_)),
        Expr::Select(select) if select.test => false,
        _ => shape.is_some_and(|node| !node.types.is_empty() && !node.is_boolean()),
    };
    if no_truth { Err("cel expression must evaluate to a bool".to_owned()) } else { Ok(()) }
}

fn children(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(fold) => {
            vec![&fold.iter_range, &fold.accu_init, &fold.loop_cond, &fold.loop_step, &fold.result]
        }
        Expr::Map(map) => map
            .entries
            .iter()
            .filter_map(|one| if let EntryExpr::MapEntry(entry) = &one.expr { Some([&entry.key, &entry.value]) } else { None })
            .flatten()
            .collect(),
        _ => Vec::new(),
    }
}

fn walk<'a>(expression: &IdedExpr, names: &[(String, Known<'a>)]) -> Result<Known<'a>, String> {
    match &expression.expr {
        Expr::Ident(name) => {
            let known = names.iter().rev().find(|(known, _)| known == name);
            known.map(|(_, shape)| *shape).ok_or_else(|| format!("undeclared reference to '{name}' (in container '')"))
        }
        Expr::Select(select) => {
            let Some(node) = walk(&select.operand, names)? else { return Ok(None) };
            let shape = node.field(&unescape(&select.field)).map_err(|()| format!("undefined field '{}'", select.field))?;
            Ok(shape.filter(|_| !select.test))
        }
        Expr::Call(call) => walk_call(call, names),
        Expr::Comprehension(fold) => {
            let mut names = names.to_vec();
            names.push((fold.iter_var.clone(), walk(&fold.iter_range, &names)?.and_then(Node::item)));
            names.push((fold.accu_var.clone(), None));
            let parts = [&fold.accu_init, &fold.loop_cond, &fold.loop_step, &fold.result];
            parts.into_iter().try_for_each(|part| walk(part, &names).map(drop)).map(|()| None)
        }
        Expr::Struct(_) | Expr::Unspecified => Err("unsupported expression".to_owned()),
        Expr::Literal(LiteralValue::UInt(_) | LiteralValue::Bytes(_)) => Err("unsupported literal".to_owned()),
        _ => children(expression).into_iter().try_for_each(|child| walk(child, names).map(drop)).map(|()| None),
    }
}

fn walk_call<'a>(call: &CallExpr, names: &[(String, Known<'a>)]) -> Result<Known<'a>, String> {
    let name = call.func_name.as_str();
    if !functions::is_known(name, call.target.is_some()) {
        return Err(format!("undeclared reference to '{name}' (in container '')"));
    }
    let shapes = call.target.as_deref().into_iter().chain(&call.args).map(|child| walk(child, names)).collect::<Result<Vec<_>, _>>()?;
    Ok(if name == "_[_]" { shapes.first().copied().flatten().and_then(Node::element) } else { None })
}
