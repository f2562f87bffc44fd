// Where the value of a node's widget is set: at the node itself, or, if a subgraph shows the widget, at each node of
// that subgraph. The widget within keeps an old value then, and hears nothing of a new one.

import { app } from "../../scripts/app.js"

export const SUBGRAPH_INPUT = -10 // the frontend's id for where a subgraph's inputs come in

function allGraphs() {
    const root = app.rootGraph ?? app.graph
    return [root, ...(root.subgraphs?.values() ?? [])]
}

export const allNodes = () => allGraphs().flatMap((graph) => graph.nodes)

// The widgets that hold the values, one for each place; none where another node gives the value.
export function holders(node, name) {
    const input = node.inputs?.find(({ widget }) => widget?.name === name)
    if (input?.link == null) return node.widgets?.filter((widget) => widget.name === name) ?? []
    const link = node.graph?.getLink?.(input.link) ?? node.graph?.links.get(input.link)
    if (Number(link?.origin_id) !== SUBGRAPH_INPUT) return []
    const outer = node.graph.inputs[link.origin_slot].name
    return allNodes().filter(({ subgraph }) => subgraph === node.graph).flatMap((one) => holders(one, outer))
}
