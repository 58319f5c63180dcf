"""What stands around each finding, in the original and in the result: the operators that a picture of it needs.

A picture holds the finding (or what makes its value now), what absorbed it or was in its way, what lies between them,
what went or came with it, and some operators directly next to it, in all at most ``MOST`` boxes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import onnx_ir as ir

from normfold.findings.verdict import Outcome, Verdict
from normfold.graph.display_names import name_of
from normfold.graph.reader import graphs_of, is_in
from normfold.report.drawing import Box, Drawing, Role

MOST = 18
NEXT_TO = 3  # readers that are drawn of one operator, and makers
_FAR = 24  # operators between a finding and what absorbed it; beyond, the way is not drawn
_Graph = ir.Graph | ir.Function


class _Index:
    """The nodes of one graph by their names, and by the values they make."""

    def __init__(self, graph: _Graph) -> None:
        self.graph = graph
        self.by_name = {name_of(node): node for node in graph}
        self.by_value = {value.name: node for node in graph for value in node.outputs if value.name}

    def before(self, node: ir.Node) -> list[ir.Node]:
        """Return the operators that ``node`` reads from, in this graph."""
        makers = (value.producer() for value in node.inputs if value is not None)
        found = (maker for maker in makers if maker is not None and maker.op_type != "Constant")
        return [maker for maker in dict.fromkeys(found) if is_in(self.graph, maker)]

    def behind(self, node: ir.Node) -> list[ir.Node]:
        """Return the operators that read from ``node``, in this graph."""
        readers = dict.fromkeys(reader for value in node.outputs for reader, _ in value.uses())
        return [reader for reader in readers if is_in(self.graph, reader)]


class _Pair:
    """One graph before and after, and what of it went and came."""

    def __init__(self, old: _Graph, new: _Graph) -> None:
        self.old, self.new = _Index(old), _Index(new)
        self.gone = dict.fromkeys(set(self.old.by_name) - set(self.new.by_name), Role.GONE)
        self.came = dict.fromkeys(set(self.new.by_name) - set(self.old.by_name), Role.NEW)


def drawings(original: ir.Model, result: ir.Model, verdicts: Iterable[Verdict]) -> tuple[tuple[Drawing, Drawing], ...]:
    """Before and after for each verdict, in their order; empty drawings where its graph is gone."""
    olds, news = dict(graphs_of(original)), dict(graphs_of(result))
    pairs = {path: _Pair(old, news[path]) for path, old in olds.items() if path in news}
    return tuple(_drawn_twice(pairs.get(verdict.finding.graph), verdict) for verdict in verdicts)


def _drawn_twice(pair: _Pair | None, verdict: Verdict) -> tuple[Drawing, Drawing]:
    if pair is None:
        return Drawing(), Drawing()
    old, new, finding = pair.old, pair.new, verdict.finding
    subject = old.by_name.get(finding.name) or old.by_value.get(finding.site)
    if verdict.outcome is Outcome.KEPT:
        here = new.by_name.get(finding.name) or new.by_value.get(finding.site)
        return _drawn_kept(old, subject, verdict), _drawn_kept(new, here, verdict)
    into = [old.by_name.get(name) for name in verdict.into]
    is_block = verdict.outcome is Outcome.FUSED or verdict.rule == "branches"  # all of it becomes one operator
    core = _core(old, [subject, *into], pair.gone if is_block else {})
    before = _drawn(old, core, core, subject, pair.gone)
    places = [new.by_value.get(value) for value in verdict.sites[:3]] or [new.by_value.get(finding.site)]
    taken = [new.by_name.get(name) for name in verdict.into]
    found = [node for node in (*places, *taken) if node is not None]
    core = _core(new, found or [_heir(old, new, subject)], pair.came)
    after = _drawn(new, core, core, None, pair.came)
    return _with_into(before, verdict.into), _with_into(after, verdict.into)


def _drawn_kept(index: _Index, subject: ir.Node | None, verdict: Verdict) -> Drawing:
    """Return what stayed, and what was in its way, with the value that both have to do with."""
    if subject is None:
        return Drawing()
    core = {subject: None}
    roles = {}
    for obstacle in verdict.obstacles:
        node, maker = index.by_name.get(obstacle.node), index.by_value.get(obstacle.value)
        if node is None or node is subject:
            continue
        way = _way(subject, node, index.behind if obstacle.direction == "forward" else index.before)
        if not way and maker is not None:  # another reader of a value that lies before the finding
            way = [*_way(subject, maker, index.before), node]
        core.update(dict.fromkeys(way))
        roles[obstacle.node] = Role.OBSTACLE
    return _drawn(index, list(core), [subject], subject, roles)


def _with_into(drawing: Drawing, into: tuple[str, ...]) -> Drawing:
    names = set(into)
    boxes = (
        Box(box.operator, box.name, Role.INTO, box.detail) if box.name in names and box.role is Role.OTHER else box
        for box in drawing.boxes
    )
    return Drawing(tuple(boxes), drawing.arrows)


def _drawn(
    index: _Index, core: list[ir.Node], centre: list[ir.Node], subject: ir.Node | None, roles: dict[str, Role]
) -> Drawing:
    """``core`` with the neighbours of ``centre``; boxes get their role by name, ``subject`` is the finding."""
    chosen = dict.fromkeys(core[:MOST])
    for node in centre:
        for neighbour in (*index.before(node)[:NEXT_TO], *index.behind(node)[:NEXT_TO]):
            if len(chosen) < MOST:
                chosen.setdefault(neighbour)
    order = {node: place for place, node in enumerate(chosen)}

    def role_of(node: ir.Node) -> Role:
        return Role.FINDING if node is subject else roles.get(name_of(node), Role.OTHER)

    boxes = [Box(node.op_type, name_of(node), role_of(node), _weight(node)) for node in order]
    arrows = [(order[maker], order[node]) for node in order for maker in index.before(node) if maker in order]
    _add_edges(index, core[:MOST], order, boxes, arrows)
    return Drawing(tuple(boxes), tuple(arrows))


def _heir(old: _Index, new: _Index, subject: ir.Node | None) -> ir.Node | None:
    """Where all that is named has gone too, in a later fold: what makes the next value behind that is still made."""
    queue = deque([subject] if subject is not None else [])
    seen = set(queue)
    while queue and len(seen) < 20 * _FAR:
        node = queue.popleft()
        made = (new.by_value.get(value.name) for value in node.outputs if value.name)
        heir = next((maker for maker in made if maker is not None), None)
        if heir is not None:
            return heir
        following = [reader for reader in old.behind(node) if reader not in seen]
        seen.update(following)
        queue.extend(following)
    return None


def _core(index: _Index, wanted: Sequence[ir.Node | None], roles: dict[str, Role]) -> list[ir.Node]:
    """Return the nodes ``wanted``, the ways from the first to the others, and what went or came together with them."""
    anchors = [node for node in dict.fromkeys(wanted) if node is not None]
    core = dict.fromkeys(anchors)
    for other in anchors[1:6]:
        way = _way(anchors[0], other, index.before) or _way(anchors[0], other, index.behind)
        core.update(dict.fromkeys(way))
    core.update(dict.fromkeys(_together(anchors, index, roles)))
    return list(core)


def _way(start: ir.Node, end: ir.Node, step: Callable[[ir.Node], list[ir.Node]]) -> list[ir.Node]:
    """Return the shortest way along ``step``, ends included; empty where there is none in reach."""
    came: dict[ir.Node, ir.Node | None] = {start: None}
    queue = deque([(start, 0)])
    while queue:
        node, far = queue.popleft()
        if node is end:
            way: list[ir.Node] = []
            walk: ir.Node | None = node
            while walk is not None:
                way.append(walk)
                walk = came[walk]
            return way
        for following in step(node) if far < _FAR and len(came) < 20 * _FAR else ():
            if following not in came:
                came[following] = node
                queue.append((following, far + 1))
    return []


def _together(starts: list[ir.Node], index: _Index, roles: dict[str, Role]) -> Iterator[ir.Node]:
    """Yield what is reached from ``starts`` over operators with a role: a decomposition, or what is written."""
    seen, queue = set(starts), deque(starts)
    while queue and len(seen) < MOST:
        node = queue.popleft()
        for neighbour in (*index.before(node), *index.behind(node)):
            if neighbour not in seen and name_of(neighbour) in roles:
                seen.add(neighbour)
                queue.append(neighbour)
                yield neighbour


def _add_edges(
    index: _Index,
    core: list[ir.Node],
    order: dict[ir.Node, int],
    boxes: list[Box],
    arrows: list[tuple[int, int]],
) -> None:
    """Return inputs and outputs of the graph that the core touches."""
    ends: dict[tuple[str, str], int] = {}

    def end(kind: str, value: ir.Value) -> int:
        name = value.name or ""
        if (kind, name) not in ends:
            ends[kind, name] = len(boxes)
            boxes.append(Box(kind, name, Role.EDGE))
        return ends[kind, name]

    outputs = set(index.graph.outputs)
    for node in core:
        read = [value for value in dict.fromkeys(node.inputs) if value is not None and _is_fed(value)]
        arrows.extend((end("input", value), order[node]) for value in read)
        arrows.extend((order[node], end("output", value)) for value in node.outputs if value in outputs)


def _is_fed(value: ir.Value) -> bool:
    return value.is_graph_input() and not value.is_initializer()


def _weight(node: ir.Node) -> str:
    """Return the shape of the constant of most axes that the operator reads itself."""
    constants = (value.const_value for value in node.inputs if value is not None)
    shapes = [tuple(constant.shape.numpy()) for constant in constants if constant is not None]
    widest: tuple[int, ...] = max(shapes, key=lambda shape: len(shape), default=())
    return "×".join(map(str, widest))
