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

/// Refuses a rule that this server could not evaluate, and one that is no truth.
pub(super) fn rule(program: &IdedExpr, node: &Node, optional_old: bool) -> Result<(), String> {
    let shape = known(program, node, optional_old)?;
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

/// The same of a `messageExpression`, which is a text.
pub(super) fn message(program: &IdedExpr, node: &Node, optional_old: bool) -> Result<(), String> {
    let shape = known(program, node, optional_old)?;
    let no_text = match &program.expr {
        Expr::Literal(literal) => !matches!(literal, LiteralValue::String(_)),
        Expr::List(_) | Expr::Map(_) => true,
        _ => shape.is_some_and(|node| !node.types.is_empty() && node.types.iter().all(|kind| kind != "string")),
    };
    if no_text { Err("messageExpression must evaluate to a string".to_owned()) } else { Ok(()) }
}

/// Refuses names, functions, fields and literals that are not there.
fn known<'a>(program: &IdedExpr, node: &'a Node, optional_old: bool) -> Result<Known<'a>, String> {
    let names = vec![("self".to_owned(), Some(node)), ("oldSelf".to_owned(), Some(node).filter(|_| !optional_old))];
    walk(program, &names)
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
    let shape = shape(expression, names)?;
    // On a real server its value is a timestamp, a duration or bytes. As the text that it is here, an order would be another.
    match shape.and_then(Node::untextual_format) {
        Some(format) => Err(format!("a value of the format '{format}' is not supported here in a rule")),
        None => Ok(shape),
    }
}

fn shape<'a>(expression: &IdedExpr, names: &[(String, Known<'a>)]) -> Result<Known<'a>, String> {
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
        Expr::Literal(LiteralValue::UInt(number)) => Err(format!("unsupported literal {}u", number.inner())),
        Expr::Literal(LiteralValue::Bytes(_)) => Err("unsupported literal of bytes".to_owned()),
        _ => children(expression).into_iter().try_for_each(|child| walk(child, names).map(drop)).map(|()| None),
    }
}

fn walk_call<'a>(call: &CallExpr, names: &[(String, Known<'a>)]) -> Result<Known<'a>, String> {
    let name = call.func_name.as_str();
    // What stands inside first: `timestamp` says more than what it is asked for.
    let shapes = call.target.as_deref().into_iter().chain(&call.args).map(|child| walk(child, names)).collect::<Result<Vec<_>, _>>()?;
    if !functions::is_known(name, call.target.is_some()) {
        return Err(format!("undeclared reference to '{name}' (in container ''), or a function that is not supported here"));
    }
    Ok(if name == "_[_]" { shapes.first().copied().flatten().and_then(Node::element) } else { None })
}
