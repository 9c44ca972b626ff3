"""Where the nodes of a graph stand: layers by longest path, order inside a layer by barycentre (Sugiyama, Tagawa and Toda 1981).

An edge over several layers gets a waypoint in each layer between, so that it is drawn around the nodes and not through them. Edges that close
a cycle are left out of the layering and drawn backwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

_SWEEPS = 8
Waypoint = tuple[int, int]
Node = int | tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """place: node → (layer, position in the layer); routes: edge → places from source to target; backward: edges against the flow."""

    place: Mapping[int, Waypoint]
    routes: Mapping[tuple[int, int], tuple[Waypoint, ...]]
    backward: frozenset[tuple[int, int]]
    layers: int
    widest: int


def layout(n: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Places for nodes 0 … n − 1. Deterministic: ties keep the order of the nodes. Self loops are ignored."""
    real = [edge for edge in dict.fromkeys(edges) if edge[0] != edge[1]]
    backward = _backward(n, real)
    forward = [edge for edge in real if edge not in backward]
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(forward)
    depth = {node: layer for layer, nodes in enumerate(nx.topological_generations(graph)) for node in nodes}
    chains = {edge: _chain(edge, depth) for edge in forward}
    layers = _order(_layers(n, depth, chains), chains)
    place = {node: (layer, spot) for layer, nodes in enumerate(layers) for spot, node in enumerate(nodes)}
    routes = {edge: tuple(place[node] for node in chain) for edge, chain in chains.items()}
    routes |= {edge: (place[edge[0]], place[edge[1]]) for edge in backward}
    return Layout(
        place={node: place[node] for node in range(n)},
        routes=routes,
        backward=frozenset(backward),
        layers=len(layers),
        widest=max((len(nodes) for nodes in layers), default=0),
    )


def _backward(n: int, edges: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Edges that lead back to a node of the current depth-first path; without them the graph has no cycle."""
    onward: dict[int, list[int]] = {node: [] for node in range(n)}
    for source, target in edges:
        onward[source].append(target)
    state = [0] * n
    found: set[tuple[int, int]] = set()
    for root in range(n):
        stack = [(root, iter(onward[root]))] if not state[root] else []
        state[root] = state[root] or 1
        while stack:
            node, rest = stack[-1]
            target = next(rest, -1)
            if target < 0:
                state[node] = 2
                stack.pop()
            elif state[target] == 1:
                found.add((node, target))
            elif not state[target]:
                state[target] = 1
                stack.append((target, iter(onward[target])))
    return found


def _chain(edge: tuple[int, int], depth: Mapping[int, int]) -> list[Node]:
    source, target = edge
    between: list[Node] = [(source, target, layer) for layer in range(depth[source] + 1, depth[target])]
    return [source, *between, target]


def _layers(n: int, depth: Mapping[int, int], chains: Mapping[tuple[int, int], list[Node]]) -> list[list[Node]]:
    layers: list[list[Node]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for stage in range(n):
        layers[depth[stage]].append(stage)
    for chain in chains.values():
        for node in chain[1:-1]:
            if isinstance(node, tuple):
                layers[node[2]].append(node)
    return layers


def _order(layers: list[list[Node]], chains: Mapping[tuple[int, int], list[Node]]) -> list[list[Node]]:
    """Sweeps down and up: each node moves to the mean place of its neighbours in the layer before."""
    before: dict[Node, list[Node]] = {}
    after: dict[Node, list[Node]] = {}
    for chain in chains.values():
        for left, right in pairwise(chain):
            before.setdefault(right, []).append(left)
            after.setdefault(left, []).append(right)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = before if down else after
        for layer in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            spots = {node: spot for spot, node in enumerate(layers[layer - 1 if down else layer + 1])}
            layers[layer] = _by_barycentre(layers[layer], neighbours, spots)
    return layers


def _by_barycentre(nodes: list[Node], neighbours: Mapping[Node, list[Node]], spots: Mapping[Node, int]) -> list[Node]:
    def centre(spot: int) -> float:
        near = [spots[other] for other in neighbours.get(nodes[spot], []) if other in spots]
        return sum(near) / len(near) if near else float(spot)

    return [nodes[spot] for spot in sorted(range(len(nodes)), key=lambda spot: (centre(spot), spot))]
