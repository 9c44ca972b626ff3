"""The partition tick by tick, slowly, from the definitions alone: plain objects and sets, no sorting tricks, no shared code with the kernels."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from headwater.model.spans import KIND_CLIENT, KIND_CONSUMER, KIND_INTERNAL, KIND_PRODUCER, KIND_SERVER, KIND_UNSPECIFIED


@dataclass
class Node:
    row: int
    start: int
    end: int
    kind: int
    said: int
    final: bool
    operation: tuple
    parent: "Node | None" = None
    children: list = field(default_factory=list)
    links: list = field(default_factory=list)
    blocks: bool = True
    handoff: bool = False
    low: int = 0
    high: int = 0


def nodes_of(traces):
    """All spans as objects, wired by the parents of the table."""
    spans = traces.spans
    rows = range(len(spans))
    nodes = [
        Node(
            row,
            int(spans.start_ns[row]),
            int(spans.end_ns[row]),
            int(spans.kind[row]),
            int(spans.blocking[row]),
            bool(spans.final[row]),
            (spans.service.at(row), spans.stage.at(row), spans.name.at(row)),
        )
        for row in rows
    ]
    trace = traces.trace_of_row().tolist()
    place = {(trace[row], int(spans.span_id[row])): row for row in rows}
    for node in nodes:
        above = int(traces.parent[node.row])
        if above >= 0:
            node.parent = nodes[above]
            nodes[above].children.append(node)
    for holder, high, low, span in zip(spans.link_row.tolist(), *spans.link_trace_id.T.tolist(), spans.link_span_id.tolist(), strict=True):
        same = (high, low) == tuple(spans.trace_id[holder].tolist())
        target = place.get((trace[holder], span)) if same else None
        if target is not None and target != holder:
            nodes[holder].links.append(nodes[target])
    return nodes


def decide(nodes, overhang):
    """blocks and handoff of every node."""
    calls, late = Counter(), Counter()
    asked = []
    for node in nodes:
        if node.parent is None:
            continue
        consumer = node.parent.kind == KIND_PRODUCER and node.kind == KIND_CONSUMER
        if node.said >= 0:
            node.blocks = node.said == 1
        elif consumer:
            node.blocks, node.handoff = False, True
        elif node.kind in {KIND_SERVER, KIND_CLIENT, KIND_CONSUMER}:
            node.blocks = True
        else:
            assert node.kind in {KIND_UNSPECIFIED, KIND_INTERNAL, KIND_PRODUCER}
            edge = (node.parent.operation, node.operation)
            asked.append((node, edge))
            calls[edge] += 1
            over = node.end - node.parent.end
            late[edge] += over > overhang and over > (node.end - node.start) // 10
    for node, edge in asked:
        node.blocks = not 2 * late[edge] > calls[edge]


def clip(node):
    """Effective interval, from the top down."""
    node.low, node.high = node.start, node.end
    if node.parent is not None and node.blocks:
        node.low = min(max(node.start, node.parent.low), node.parent.high)
        node.high = min(max(node.end, node.parent.low), node.parent.high)
    for child in node.children:
        clip(child)


def top_of(node):
    while node.parent is not None and node.blocks:
        node = node.parent
    return node


def on_the_way(node):
    """Does this head of a task lead to an answer?"""
    if node.parent is None:
        return True
    return node.handoff and on_the_way(top_of(node.parent))


def last_to_end(candidates):
    return max(candidates, key=lambda node: (node.high, node.low, -node.row))


def earliest(candidates):
    return min(candidates, key=lambda node: (node.low, node.row))


def descend(node, low, t, owner):
    """Give every tick of [low, t) to a span: children that end inside the window and run at its end, else the node itself."""
    waited = [child for child in node.children if child.blocks and child.high > child.low]
    while t > low:
        ended = [child for child in waited if low < child.high <= t]
        running = [child for child in waited if child.low < t < child.high]
        gap_from = max((child.high for child in ended), default=low)
        if gap_from == t:
            chosen = last_to_end([child for child in ended if child.high == t])
            floor = max(chosen.low, low)
            descend(chosen, floor, t, owner)
            t = floor
        elif running:
            chosen = earliest(running)
            floor = max(chosen.low, gap_from)
            descend(chosen, floor, t, owner)
            t = floor
        else:
            t -= 1
            owner[t] = node.row


def cover(trace_nodes):
    """(start, end, owner of every tick): a row, None = nobody, or ("queue", producer row, consumer row)."""
    roots = [node for node in trace_nodes if node.parent is None]
    owner = {}
    if len(roots) == 1 and not any(node.handoff for node in trace_nodes):
        root = roots[0]
        descend(root, root.low, root.high, owner)
        return root.low, root.high, owner
    heads = [node for node in trace_nodes if (node.parent is None or node.handoff) and on_the_way(node)]
    final = [node for node in trace_nodes if node.final]
    answer = last_to_end(final or heads)
    begin, t = min(node.low for node in trace_nodes), answer.high
    horizon = (begin, t)
    task, floor = top_of(answer), begin
    heads = [head for head in heads if head.high > head.low]
    while t > begin:
        if task is None:
            ended = [head for head in heads if begin < head.high <= t]
            running = [head for head in heads if head.low < t < head.high]
            gap_from = max((head.high for head in ended), default=begin)
            if gap_from == t:
                task, floor = last_to_end([head for head in ended if head.high == t]), begin
            elif running:
                task = earliest(running)
                floor = max(task.low, gap_from)
            else:
                t -= 1
                owner[t] = None
            continue
        stop = max(task.low, floor)
        if stop < t:
            descend(task, stop, t, owner)
            t = stop
        givers = []
        if t <= task.low:
            above = [] if task.parent is None else [task.parent]
            givers = [giver for giver in above + (task.links if task.parent is None or task.handoff else []) if giver.low < t]
        consumer, task, floor = task, None, begin
        if givers:
            giver = max(givers, key=lambda node: (min(node.high, t), node.low, -node.row))
            while t > max(begin, giver.high):
                t -= 1
                owner[t] = ("queue", giver.row, consumer.row)
            task = top_of(giver)
    return *horizon, owner


def oracle(traces, overhang):
    """Per trace (start, end, owners by tick), and the self time of every span counted tick by tick."""
    nodes = nodes_of(traces)
    decide(nodes, overhang)
    for node in nodes:
        if node.parent is None:
            clip(node)
    own = []
    for node in nodes:
        covered = {tick for child in node.children if child.blocks for tick in range(max(child.start, node.start), min(child.end, node.end))}
        own.append(node.end - node.start - len(covered))
    cuts = traces.offset.tolist()
    return [cover(nodes[low:high]) for low, high in pairwise(cuts)], own
