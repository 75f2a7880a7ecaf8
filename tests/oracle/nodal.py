"""Slow oracle: crossbars as sparse nodal equations, node by node, with scipy."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from imc_sim.array.circuit.wires import Wires


class Circuit:
    """Branches of one array of cells; nodes joined by 0 ohm are one node.

    Nodes: word-line node of cell (i, j), then bit-line nodes, drivers at the rows, virtual grounds at the columns.
    """

    def __init__(self, rows: int, cols: int, wires: Wires) -> None:
        count = rows * cols
        self.word = np.arange(count).reshape(rows, cols)
        self.bit = self.word + count
        self.driver = 2 * count + np.arange(rows)
        self.ground = 2 * count + rows + np.arange(cols)
        self.nodes = 2 * count + rows + cols
        end = wires.r_row_ohm + wires.r_source_ohm
        branches = [
            (self.word[:, :-1], self.word[:, 1:], wires.r_row_ohm),
            (self.bit[:-1], self.bit[1:], wires.r_col_ohm),
            (self.driver, self.word[:, 0], end),
            (self.bit[-1], self.ground, wires.r_col_ohm + wires.r_sense_ohm),
        ]
        if wires.drive == "double":
            branches.append((self.word[:, -1], self.driver, end))
        self.wires = [(a.ravel(), b.ravel(), r) for a, b, r in branches]
        self.merged = self._merge()

    def _merge(self) -> np.ndarray:
        shorts = [(a, b) for a, b, r in self.wires if r == 0.0]
        a, b = (np.concatenate([pair[k] for pair in shorts] or [np.empty(0, int)]) for k in (0, 1))
        graph = sparse.coo_matrix((np.ones(len(a)), (a, b)), shape=(self.nodes, self.nodes))
        return connected_components(graph, directed=False)[1]

    def laplacian(self, G: np.ndarray) -> sparse.csc_matrix:
        """Return the nodal matrix over merged nodes, drivers and grounds included."""
        parts = [(a, b, np.full(a.size, 1.0 / r)) for a, b, r in self.wires if r > 0.0]
        parts.append((self.word.ravel(), self.bit.ravel(), G.ravel()))
        a, b, g = (np.concatenate([part[k] for part in parts]) for k in range(3))
        a, b, n = self.merged[a], self.merged[b], self.merged.max() + 1
        values = np.concatenate([g, g, -g, -g])
        rows, cols = np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a])
        return sparse.csc_matrix((values, (rows, cols)), shape=(n, n))

    def held(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the merged nodes of the drivers, of the grounds, and all others."""
        drivers, grounds = self.merged[self.driver], self.merged[self.ground]
        free = np.setdiff1d(self.merged, np.concatenate([drivers, grounds]))
        return drivers, grounds, free


def exact_conductance(G: np.ndarray, wires: Wires) -> np.ndarray:
    """Return M [rows, cols]: the current into each virtual ground for 1 V at one driver after the other."""
    return exact_currents(G, np.eye(G.shape[0]), wires)


def exact_currents(G: np.ndarray, v: np.ndarray, wires: Wires) -> np.ndarray:
    """Return currents [vectors, cols] into the virtual grounds for drivers at v [vectors, rows]."""
    circuit = Circuit(G.shape[0], G.shape[1], wires)
    matrix = circuit.laplacian(G)
    drivers, grounds, free = circuit.held()
    current = matrix[grounds][:, drivers] @ -v.T
    if free.size:
        lu = splu(matrix[free][:, free], permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        volts = lu.solve(matrix[free][:, drivers] @ -v.T)
        current = current - matrix[grounds][:, free] @ volts
    return current.T


def gated_currents(G: np.ndarray, v: np.ndarray, gates: np.ndarray, wires: Wires) -> np.ndarray:
    """Return currents [cols] for drivers at v [rows] in the circuit without the cells of rows whose gate is off."""
    return exact_currents(G * gates[:, None], v[None], wires)[0]


def nonlinear_currents(G: np.ndarray, v: np.ndarray, wires: Wires, a_per_V: float) -> np.ndarray:
    """Currents [cols] of cells G sinh(a V) / a for drivers at v [rows], by Newton on all node voltages.

    Started with every node at 0 V; every step is halved until the sum of squares of the nodes' currents shrinks.
    """
    circuit = Circuit(G.shape[0], G.shape[1], wires)
    lines = circuit.laplacian(np.zeros_like(G))
    drivers, _, free = circuit.held()
    volts = np.zeros(circuit.merged.max() + 1)
    volts[drivers] = v
    ends = circuit.merged[circuit.word.ravel()], circuit.merged[circuit.bit.ravel()]

    def leaving(at: np.ndarray) -> np.ndarray:
        """Return the current [node] that leaves each node."""
        cell = G.ravel() * np.sinh(a_per_V * (at[ends[0]] - at[ends[1]])) / a_per_V
        out = lines @ at
        np.add.at(out, ends[0], cell)
        np.add.at(out, ends[1], -cell)
        return out

    for _ in range(200):
        left = leaving(volts)[free]
        slope = np.cosh(a_per_V * (volts[ends[0]] - volts[ends[1]])).reshape(G.shape)
        step = np.zeros_like(volts)
        if free.size:
            step[free] = splu(circuit.laplacian(G * slope)[free][:, free]).solve(-left)
        part = 1.0
        while part > 1e-9 and np.sum(leaving(volts + part * step)[free] ** 2) > np.sum(left**2):
            part *= 0.5
        volts += part * step
        if np.abs(step).max() < 1e-15 * np.abs(v).max():
            break
    cell = G.ravel() * np.sinh(a_per_V * (volts[ends[0]] - volts[ends[1]])) / a_per_V
    return cell.reshape(G.shape).sum(0)
