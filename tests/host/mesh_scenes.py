"""The toy world's vase, its views and what samples them; and how far the pictures of views disagree."""

import math

import torch
from prompts import Graph, ksampler
from torch.nn import functional

COUNT, SIZE = 8, 16
LENS = math.radians(40)
SETTINGS = {"steps": 12, "cfg": 4.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "seed": 5}
HALF = 0.5  # the cosine of 60 degrees


class Painting:
    """The toy world's vase and its views, with what samples them."""

    def __init__(self, **toy):
        self.graph = Graph()
        asked = {"digit": "3", "stroke": "red", "ground": "any", "batch_size": COUNT} | toy
        self.toy = self.graph.add("DomainGuidanceToyWorld", **asked)
        self.mesh = self.toy[8]
        self.views = self.views_of(self.mesh)

    def views_of(self, mesh, **changes):
        inputs = {"arrangement": "ring", "count": COUNT, "width": SIZE, "height": SIZE} | changes
        return self.graph.add("DomainGuidanceMeshViews", mesh=mesh, **inputs)

    def synchronised(self, model, **changes):
        return self.graph.add("DomainGuidanceSynchroniseViews", model=model, views=self.views, **changes)

    def guided(self, model, **changes):
        return self.graph.add(
            "DomainGuidanceApply", model=model, domain_model=self.toy[1], **{"weight": 1.5, **changes}
        )

    def sample(self, model, **changes):
        return ksampler(self.graph, model, self.toy[3], self.toy[4], self.toy[5], **{**SETTINGS, **changes})


class Seen:
    """The vase as the toy views see it, from the library: what the nodes do is measured apart from them."""

    def __init__(self, host):
        self.meshes = host.library("domain_guidance.meshes")
        self.surface = host.library("domain_guidance.toy_world.vase").vase()
        self.views = self.meshes.arrange(self.surface, "ring", count=COUNT, field_of_view=LENS, height=SIZE, width=SIZE)
        self.drawn = self.meshes.draw_views(self.surface, self.views)
        self.correspondence = self.meshes.correspond(self.surface, self.views)

    def disagreement(self, pictures):
        """The mean squared difference of every view and its neighbour, read at the same points of the surface, where
        both see them at under 60 degrees.
        """
        differences = []
        for number, fragments in enumerate(self.drawn):
            other = (number + 1) % len(pictures)
            normals = self.surface.normals[fragments.face.clamp_min(0)]
            points = fragments.interpolate(self.surface.vertices, self.surface.faces)
            steep = [
                (functional.normalize(self.views.eyes[view] - points, dim=2) * normals).sum(2) > HALF
                for view in (number, other)
            ]
            both = steep[0] & steep[1] & (self.correspondence.weights[number, other] > 0)
            there = functional.grid_sample(
                pictures[other : other + 1], self.correspondence.places[number, other, None], align_corners=False
            )[0]
            differences.append((there - pictures[number])[:, both].flatten())
        return float(torch.cat(differences).square().mean())

    def turned(self, share):
        """The views' cameras, all turned about the vase towards the next by a share of the way."""
        turn = 2 * math.pi * share / COUNT
        about = torch.tensor([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]])
        eyes = (self.views.eyes - self.views.target) @ about.T + self.views.target
        return self.meshes.Views(eyes, self.views.target, LENS, SIZE, SIZE)

    def rendered(self, texture, views, backgrounds, finer=8):
        """A texture [T, T, 3] seen from `views`, before backgrounds [V, 3, H, W] of the same range, [V, 3, H, W].

        Every pixel is the mean of `finer` x `finer` rays.
        """
        drawn = self.meshes.draw_views(self.surface, views.at(finer * views.height, finer * views.width))
        pictures = []
        for fragments, background in zip(drawn, backgrounds, strict=True):
            places = fragments.interpolate(self.surface.uvs, self.surface.faces) * 2 - 1
            colours = functional.grid_sample(texture.permute(2, 0, 1)[None], places[None], align_corners=False)[0]
            covered = fragments.covered.float()[None]
            beside = 1 - functional.avg_pool2d(covered, finer)
            pictures.append(functional.avg_pool2d(colours * covered, finer) + beside * background)
        return torch.stack(pictures)


def decibels(error, span=2.0):
    return 10 * math.log10(span**2 / error)
